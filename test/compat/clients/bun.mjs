/** Bun.SQL, the MySQL client built into Bun, which runs this. */
import { SQL } from 'bun'
import { runSteps, Unsupported } from './steps.mjs'

await runSteps({ version: Bun.version, error: errorOf, connect })

async function connect({ host, port, socket, user, password, database, ca }, { compress, localInfile }) {
  if (compress) throw new Unsupported('no compression')
  if (localInfile) throw new Unsupported('no LOAD DATA LOCAL')
  const sql = new SQL({
    adapter: 'mysql',
    ...(socket ? { path: socket } : { hostname: host, port }),
    username: user,
    password,
    // Without a name, it takes "mysql".
    database: database ?? '',
    ...(ca ? { tls: { ca, serverName: host } } : { tls: false }),
    bigint: true,
    max: 1,
    idleTimeout: 0,
    connectionTimeout: 60,
  })
  await sql.connect()
  return {
    query: async text => resultSets(await sql.unsafe(text).simple().values()),
    execute: async (text, parameters) => resultSets(await sql.unsafe(text, parameters).values()),
    async info(text) {
      const { affectedRows, lastInsertRowid } = await sql.unsafe(text)
      return [affectedRows, lastInsertRowid]
    },
    pipeline: statements => Promise.all(statements.map(async text => resultSets(await sql.unsafe(text).values())[0])),
    close: () => sql.close({ timeout: 0 }),
  }
}

/** Several results come as a list of lists of rows. A result without rows counts as none. */
function resultSets(result) {
  const isSeveral = result.some(part => Array.isArray(part) && (part.command !== undefined || part.count !== undefined))
  const results = isSeveral ? result : [result]
  return results.filter(rows => rows.length > 0).map(rows => rows.map(row => [...row]))
}

function errorOf(error) {
  return [error.errno ?? error.code ?? 0, error.sqlState ?? '', error.message]
}
