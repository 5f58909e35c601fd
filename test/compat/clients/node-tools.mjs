/** Knex, Sequelize and TypeORM, on mysql2, each with a pool of one. The first argument names it. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { runSteps, Unsupported } from './steps.mjs'

const name = process.argv[2]
const require = createRequire(join(process.env.COMPAT_MODULES, 'package.json'))
const { version } = JSON.parse(readFileSync(join(process.env.COMPAT_MODULES, 'node_modules', name, 'package.json')))

const mysql2Options = { supportBigNumbers: true, bigNumberStrings: true, dateStrings: true }

await runSteps({ version, error: errorOf, connect: { knex, sequelize, typeorm }[name] })

async function knex(target, options) {
  refuseWhatIsTheDrivers(options)
  const database = require('knex')({
    client: 'mysql2',
    connection: { ...connectionOf(target), ...mysql2Options, multipleStatements: options.multi ?? false },
    pool: { min: 1, max: 1 },
  })
  return await tried({
    query: async sql => resultSets(await database.raw(sql)),
    execute: async (sql, params) => resultSets(await database.raw(sql, params)),
    info: async sql => infoOf((await database.raw(sql))[0]),
    // { cancel: true } kills the query from a second connection, and a pool of one has none.
    timeout: (sql, ms) => database.raw(sql).timeout(ms),
    close: () => database.destroy(),
  })
}

async function sequelize(target, options) {
  refuseWhatIsTheDrivers(options)
  const { Sequelize } = require('sequelize')
  const { host, port, user, password, database, socketPath, ssl } = connectionOf(target)
  const orm = new Sequelize(database ?? '', user, password, {
    dialect: 'mysql',
    ...(socketPath ? {} : { host, port }),
    dialectOptions: { ...mysql2Options, multipleStatements: options.multi ?? false, socketPath, ssl },
    pool: { min: 1, max: 1 },
    logging: false,
  })
  return await tried({
    query: async sql => resultSets(await orm.query(sql)),
    async execute(sql, params) {
      let count = 0
      return resultSets(
        await orm.query(
          sql.replace(/\?/g, () => `$${++count}`),
          { bind: params },
        ),
      )
    },
    close: () => orm.close(),
  })
}

async function typeorm(target, options) {
  refuseWhatIsTheDrivers(options)
  const { DataSource } = require('typeorm')
  const { user, ...connection } = connectionOf(target)
  const source = new DataSource({
    type: 'mysql',
    ...connection,
    username: user,
    connectorPackage: 'mysql2',
    charset: 'utf8mb4',
    bigNumberStrings: true,
    supportBigNumbers: true,
    dateStrings: true,
    poolSize: 1,
    extra: { multipleStatements: options.multi ?? false },
  })
  await source.initialize()
  return {
    query: async sql => resultSets([await source.query(sql)]),
    execute: async (sql, params) => resultSets([await source.query(sql, params)]),
    info: async sql => infoOf(await source.query(sql)),
    close: () => source.destroy(),
  }
}

function refuseWhatIsTheDrivers({ compress, localInfile, multi }) {
  if (compress || localInfile || multi) throw new Unsupported('up to mysql2')
}

function connectionOf({ host, port, socket, user, password, database, ca }) {
  return {
    ...(socket ? { socketPath: socket } : { host, port }),
    user,
    password,
    ...(database ? { database } : {}),
    ...(ca ? { ssl: { ca, verifyIdentity: true } } : {}),
  }
}

/** These connect with the first query only. */
async function tried(connection) {
  try {
    await connection.query('SELECT 1')
    return connection
  } catch (error) {
    await connection.close()
    throw error
  }
}

function resultSets([result]) {
  return Array.isArray(result) ? [result.map(row => Object.values(row))] : []
}

function infoOf({ affectedRows, insertId }) {
  return [affectedRows, insertId]
}

function errorOf(error) {
  const original = error.driverError ?? error.original ?? error
  return [original.errno ?? 0, original.sqlState ?? '', original.sqlMessage ?? original.message]
}
