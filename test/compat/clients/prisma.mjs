/** Prisma 7, whose queries are compiled in WebAssembly and sent by its adapter for mariadb of npm; a pool of one. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { runSteps, Unsupported } from './steps.mjs'

const { direct } = JSON.parse(process.env.COMPAT)
const modules = process.env.COMPAT_MODULES
const require = createRequire(join(modules, 'package.json'))
const { PrismaClient } = require('@prisma/client')
const { PrismaMariaDb } = require('@prisma/adapter-mariadb')
const { version } = JSON.parse(readFileSync(join(modules, 'node_modules/@prisma/client/package.json')))

await runSteps({ version, error: errorOf, connect })

async function connect({ host, port, socket, user, password, database, ca }, { compress, multi, localInfile }) {
  if (compress || multi || localInfile) throw new Unsupported('up to mariadb of npm')
  const adapter = new PrismaMariaDb({
    ...(socket ? { socketPath: socket } : { host, port }),
    user,
    password,
    ...(database ? { database } : {}),
    ...(ca ? { ssl: { ca } } : { allowPublicKeyRetrieval: direct }),
    connectionLimit: 1,
    // Else a login that is refused is tried for ten seconds.
    acquireTimeout: 3_000,
    initializationTimeout: 2_000,
  })
  const prisma = new PrismaClient({ adapter, log: [] })
  const query = async (sql, params = []) => {
    if (sql === 'START TRANSACTION') throw new Unsupported('its transactions are no SQL, and have no savepoints')
    const rows = await prisma.$queryRawUnsafe(sql, ...params)
    return rows.length > 0 || /^\s*SELECT/.test(sql) ? [rows.map(row => Object.values(row).map(plain))] : []
  }
  try {
    await prisma.$connect()
    await query('SELECT 1')
  } catch (error) {
    await prisma.$disconnect()
    throw error
  }
  return {
    query,
    execute: query,
    close: () => prisma.$disconnect(),
  }
}

function plain(value) {
  return value?.constructor?.name === 'Decimal' ? value.toFixed() : value
}

function errorOf(error) {
  const cause = error.meta?.driverAdapterError?.cause ?? {}
  // Of a login: the pool's error has the server's in it.
  const [, errno, sqlState, message] = /no: (\d+), SQLState: (\w+)\) (.*)/.exec(cause.cause) ?? []
  if (errno) return [Number(errno), sqlState, message]
  return [Number(cause.originalCode ?? 0), cause.state ?? '', cause.originalMessage ?? error.message]
}
