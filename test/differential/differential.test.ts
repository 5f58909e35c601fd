/**
 * Through the proxy, a client gets the same bytes as directly. DIFFERENTIAL_RUNS and DIFFERENTIAL_SEED set how many random
 * clients there are on each server, and the seed of the first; each client has its own seed, and a failure names it.
 */
import type { Test } from 'tap'
import {
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_PLUGIN_AUTH,
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  CLIENT_SECURE_CONNECTION,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
  isCompressed,
} from '../../src/protocol/capabilities.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { createRandom } from '../fuzz/random.ts'
import type { RealServer } from '../support/database-server.ts'
import { startProxy } from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'
import { DATABASE, randomScript, USERS } from './script.ts'
import { directly, MARKER, play, type Script, type Trace, through } from './session.ts'

const runs = Number(process.env['DIFFERENTIAL_RUNS'] ?? 100)
/** Every such client logs in again until it gets a prepared connection: four or five times. */
const PREPARED_EVERY = 10

const firstSeed = Number(process.env['DIFFERENTIAL_SEED'] ?? 1)

/** Flags of the handshake, which belong to each leg. The last is for logins with several factors. */
const OF_A_LEG =
  CLIENT_SSL |
  CLIENT_CONNECT_WITH_DB |
  CLIENT_CONNECT_ATTRS |
  CLIENT_SECURE_CONNECTION |
  CLIENT_PLUGIN_AUTH |
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
  (1 << 28) |
  (hasZstd ? 0 : CLIENT_ZSTD_COMPRESSION_ALGORITHM)

testOnEachServer('random clients get the same bytes as directly', async (t, server) => {
  await prepareDatabase(t, server)
  const proxy = await startProxy(t, server, { maxLoginsPerSecond: 0 })
  const compressing = await startProxy(t, server, { maxLoginsPerSecond: 0, compress: 'zstd' })
  const seen = { sessions: 0, steps: 0, closed: 0 }
  for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
    const script = randomScript(createRandom(seed))
    const direct = await play(script, directly(server))
    withoutOfALeg(direct)
    const closes = direct.steps.at(-1) === 'the server closes'
    seen.sessions += direct.login.startsWith('00') ? 1 : 0
    seen.steps += direct.steps.length
    seen.closed += closes ? 1 : 0
    const compare = (proxied: Trace, how: string) => {
      if (JSON.stringify(withoutOfALeg(proxied)) === JSON.stringify(direct)) return
      t.strictSame(proxied, direct, `DIFFERENTIAL_RUNS=1 DIFFERENTIAL_SEED=${seed}${how}`)
    }
    // A client that asks for compression itself gets the same session from both.
    for (const via of isCompressed(script.capabilities) ? [proxy] : [proxy, compressing]) {
      compare(await play(script, through(via)), via === compressing ? ', compressed between proxy and server' : '')
    }
    // If the server closes a session, prepared connections end: it may be about to restart.
    if (closes || (runs > 1 && seed % PREPARED_EVERY > 0)) continue
    const compress = seed % (2 * PREPARED_EVERY) > 0 ? 'off' : 'zstd'
    const ready = { maxLoginsPerSecond: 0, preparedConnections: 2, compress } as const
    const preparing = await startProxy(t, server, ready)
    for (let isTaken = false; !isTaken; ) {
      const waiting = await waitingForLogin(server)
      const session = async (of: Script) => {
        const opened = await through(preparing)(of)
        isTaken = waiting.includes(opened.greeting.threadId)
        return opened
      }
      compare(await play(script, session), `, over a prepared connection, compress ${compress}`)
    }
    await preparing.close()
  }
  t.equal(seen.sessions, runs, 'all logins are let in')
  t.ok(seen.steps >= 2 * runs, `${seen.steps} steps; the server has closed ${seen.closed} sessions`)
})

/** The thread ids of connections that wait for their login. */
async function waitingForLogin(server: RealServer): Promise<number[]> {
  const sql = "SELECT id AS waiting FROM information_schema.processlist WHERE user = 'unauthenticated user'"
  const rows = (await server.query(sql)) as { waiting: number | bigint }[]
  return rows.map(({ waiting }) => Number(waiting))
}

function withoutOfALeg(result: Trace): Trace {
  result.greeting.capabilities = (result.greeting.capabilities | OF_A_LEG) >>> 0
  return result
}

/** The users may do nothing that other sessions see. */
async function prepareDatabase(t: Test, server: RealServer): Promise<void> {
  const users = USERS.map(
    user => `CREATE USER IF NOT EXISTS ${user} IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;
    GRANT SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES, EXECUTE ON ${DATABASE}.* TO ${user};
    GRANT SELECT ON \`${MARKER}%\`.* TO ${user};
    GRANT REPLICATION SLAVE ON *.* TO ${user};`,
  )
  await server.query(`DROP DATABASE IF EXISTS ${DATABASE}; CREATE DATABASE ${DATABASE} CHARACTER SET utf8mb4;
    CREATE TABLE ${DATABASE}.fixed (id INT PRIMARY KEY, text_ VARCHAR(100), date_ DATETIME(6), json_ JSON, bits BIT(9));
    INSERT INTO ${DATABASE}.fixed VALUES (1, 'a', '2024-01-02 03:04:05.678', '{"a": [1, 2]}', b'101'),
      (2, NULL, NULL, NULL, NULL), (3, 'é😀', '1970-01-01', '"x"', b'111111111');
    ANALYZE TABLE ${DATABASE}.fixed;
    CREATE PROCEDURE ${DATABASE}.two_results(IN n INT) BEGIN SELECT n; SELECT id FROM ${DATABASE}.fixed WHERE id = 3; END;
    ${users.join('\n')}`)
  t.teardown(async () => {
    await server.query(`DROP USER ${USERS.join(', ')}; DROP DATABASE ${DATABASE}`)
  })
}
