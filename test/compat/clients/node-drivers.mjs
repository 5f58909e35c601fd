/** mysql2, mysql and mariadb of npm. The first argument names the driver. */
import { createReadStream, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { runSteps, Unsupported } from './steps.mjs'

const name = process.argv[2]
const { direct } = JSON.parse(process.env.COMPAT)
const require = createRequire(join(process.env.COMPAT_MODULES, 'package.json'))
const { version } = JSON.parse(readFileSync(join(process.env.COMPAT_MODULES, 'node_modules', name, 'package.json')))

await runSteps({ version, ...{ mysql2, mysql, mariadb }[name]() })

function mysql2() {
  const module = require('mysql2/promise')
  return {
    error: errorOf,
    async connect(target, { compress, multi }) {
      const connection = await module.createConnection({
        ...addressOf(target),
        user: target.user,
        password: target.password,
        ...(target.database ? { database: target.database } : {}),
        ...(target.ca ? { ssl: { ca: target.ca, verifyIdentity: true } } : {}),
        compress: compress ?? false,
        multipleStatements: multi ?? false,
        supportBigNumbers: true,
        bigNumberStrings: true,
        dateStrings: true,
        rowsAsArray: true,
        infileStreamFactory: createReadStream,
      })
      const raw = connection.connection
      const event = eventOf(raw)
      const timeLimited = (sql, timeout) => connection.query({ sql, timeout })
      return {
        event,
        query: async sql => resultSets(await connection.query(sql)),
        execute: async (sql, params) => resultSets(await connection.execute(sql, params)),
        info: async sql => infoOf((await connection.query(sql))[0]),
        identity: () => [String(raw.threadId), raw._handshakePacket?.serverVersion ?? null],
        changeUser: options => connection.changeUser(options),
        ...(connection.reset ? { reset: () => connection.reset() } : {}),
        timeout: timeLimited,
        pipeline: statements => Promise.all(statements.map(async sql => resultSets(await connection.query(sql))[0])),
        close: async () => connection.destroy(),
      }
    },
  }
}

function mysql() {
  const module = require('mysql')
  return {
    error: errorOf,
    async connect(target, { multi, compress }) {
      if (compress) throw new Unsupported('no compression')
      const connection = module.createConnection({
        ...addressOf(target),
        user: target.user,
        password: target.password,
        ...(target.database ? { database: target.database } : {}),
        ...(target.ca ? { ssl: { ca: target.ca } } : {}),
        charset: 'utf8mb4',
        multipleStatements: multi ?? false,
        supportBigNumbers: true,
        bigNumberStrings: true,
        dateStrings: true,
      })
      const event = eventOf(connection)
      const promised = (method, ...args) =>
        new Promise((resolve, reject) => {
          connection[method](...args, (error, result, fields) => (error ? reject(error) : resolve([result, fields])))
        })
      await promised('connect')
      const query = async options => resultSets(await promised('query', options))
      return {
        event,
        query,
        info: async sql => infoOf((await promised('query', sql))[0]),
        identity: () => [
          String(connection.threadId),
          connection._protocol._handshakeInitializationPacket.serverVersion,
        ],
        changeUser: options => promised('changeUser', options),
        timeout: (sql, timeout) => query({ sql, timeout }),
        pipeline: statements => Promise.all(statements.map(async sql => (await query(sql))[0])),
        close: async () => connection.destroy(),
      }
    },
  }
}

function mariadb() {
  const module = require('mariadb')
  return {
    error: errorOf,
    async reuse({ user, password, database, ...target }, sql) {
      const options = { ...addressOf(target), user, password, database, allowPublicKeyRetrieval: direct }
      const pool = module.createPool({ ...options, connectionLimit: 1, resetAfterUse: true })
      try {
        const first = await pool.getConnection()
        const { threadId } = first
        await first.query('SET @compat = 1')
        await first.release()
        const second = await pool.getConnection()
        const [row] = await second.query({ sql, rowsAsArray: true })
        const result = [second.threadId === threadId ? 'same' : 'another', ...row]
        await second.release()
        return result
      } finally {
        await pool.end()
      }
    },
    async connect(target, { compress, multi, localInfile }) {
      const connection = await module.createConnection({
        ...addressOf(target),
        user: target.user,
        password: target.password,
        ...(target.database ? { database: target.database } : {}),
        ...(target.ca ? { ssl: { ca: target.ca } } : { allowPublicKeyRetrieval: direct }),
        compress: compress ?? false,
        multipleStatements: multi ?? false,
        permitLocalInfile: localInfile ?? false,
        supportBigNumbers: true,
        bigNumberStrings: true,
        bigIntAsNumber: false,
        dateStrings: true,
        rowsAsArray: true,
        maxAllowedPacket: 64 << 20,
        // Its second by default is too short for a busy machine.
        connectTimeout: 60_000,
      })
      const event = eventOf(connection)
      const query = async sql => resultSets([await connection.query(sql)])
      return {
        event,
        query,
        execute: async (sql, params) => resultSets([await connection.execute(sql, params)]),
        info: async sql => infoOf(await connection.query(sql)),
        identity: () => [String(connection.threadId), connection.serverVersion()],
        reset: () => connection.reset(),
        changeUser: options => connection.changeUser(options),
        timeout: (sql, timeout) => connection.query({ sql, timeout }),
        pipeline: statements => Promise.all(statements.map(async sql => (await query(sql))[0])),
        close: async () => connection.destroy(),
      }
    },
  }
}

/** The last error that the driver emitted instead of throwing it. */
function eventOf(connection) {
  let last
  connection.on('error', error => {
    last = error
  })
  return () => last
}

function addressOf({ host, port, socket }) {
  return socket ? { socketPath: socket } : { host, port }
}

/** From one result or many; what has no columns is left out. */
function resultSets([result, fields]) {
  // mysql2 and mysql: several results come with as many lists of fields
  const several = fields ? fields.some(list => list === undefined || Array.isArray(list)) : isSeveral(result)
  return (several ? result : [result]).filter(Array.isArray).map(rows => rows.map(toCells))
}

/** Of the driver mariadb: rows are lists too, so several results are recognised by their other items. */
function isSeveral(result) {
  return Array.isArray(result) && result.some(part => part && (part.affectedRows !== undefined || part.meta))
}

function toCells(row) {
  return Array.isArray(row) ? row : Object.values(row)
}

function infoOf({ affectedRows, insertId }) {
  return [affectedRows, insertId]
}

function errorOf(error) {
  return [error.errno ?? error.code ?? 0, error.sqlState ?? '', error.sqlMessage ?? error.message]
}
