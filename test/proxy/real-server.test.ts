import { connect } from 'node:net'
import { Signer } from '@aws-sdk/rds-signer'
import mysql from 'mysql2'
import type { Credentials, Decision, RealServer } from '../support/mariadb.ts'
import { testOnEachServer } from '../support/servers.ts'
import { type SignTokenOptions, signToken } from '../support/token.ts'

interface Outcome {
  /** CURRENT_USER() */
  user?: string
  errno?: number
  message?: string
  decision: Decision | undefined
}

testOnEachServer('the stand-in for RDS', async (t, server) => {
  const { longTerm, temporary } = server.keys

  await t.test('accepts tokens signed by the SDK', async t => {
    const short = await logIn(server, { token: await sdkToken(server, longTerm) })
    t.match(short, { user: 'iam_user@%', decision: { user: 'iam_user', accepted: true } })
    t.ok(isAbout(short.decision!.tokenBytes, 370), `${short.decision!.tokenBytes} bytes with a long-term key`)
    const long = await logIn(server, { token: await sdkToken(server, temporary) })
    t.match(long, { user: 'iam_user@%', decision: { user: 'iam_user', accepted: true } })
    t.ok(isAbout(long.decision!.tokenBytes, 1280), `${long.decision!.tokenBytes} bytes with a session token`)
  })

  await t.test('accepts tokens of our own signer for 15 minutes', async t => {
    t.match(await logIn(server, { token: sign(server) }), { user: 'iam_user@%' })
    t.match(await logIn(server, { token: sign(server, { credentials: temporary }) }), { user: 'iam_user@%' })
    t.match(await logIn(server, { user: 'iam2', token: sign(server, { user: 'iam2' }) }), { user: 'iam2@%' })
    t.match(await logIn(server, { token: sign(server, { date: minutesAgo(14.5) }) }), { user: 'iam_user@%' })
  })

  const good = sign(server)
  const last = good.at(-1) === '0' ? '1' : '0'
  const refused: [name: string, reason: string, token: string, user?: string][] = [
    ['expired', 'expired', sign(server, { date: minutesAgo(15.1) })],
    ['from the future', 'from the future', sign(server, { date: minutesAgo(-6) })],
    ['good for more than 15 minutes', 'wrong expiry', sign(server, { expires: 3600 })],
    ['for another user', 'wrong user', sign(server, { user: 'iam2' })],
    ['for the user in other letters', 'wrong user', sign(server, { user: 'IAM_user' })],
    ['used by another user', 'wrong user', good, 'iam2'],
    ['for another host', 'wrong host', sign(server, { host: 'nlb.example.com' })],
    ['for another port', 'wrong port', sign(server, { port: 3307 })],
    ['for another region', 'wrong region', sign(server, { region: 'us-east-1' })],
    ['with a changed signature', 'wrong signature', good.slice(0, -1) + last],
    ['with a changed host, signed for another', 'wrong signature', changedHost(server)],
    [
      'signed with another secret',
      'wrong signature',
      sign(server, { credentials: { ...longTerm, secretAccessKey: 'x' } }),
    ],
    ['with an unknown key', 'unknown access key', sign(server, { credentials: { ...longTerm, accessKeyId: 'AKIAX' } })],
    ['without its session token', 'wrong session token', sign(server, { credentials: withoutSession(temporary) })],
    [
      'with another session token',
      'wrong session token',
      sign(server, { credentials: { ...temporary, sessionToken: 'x' } }),
    ],
    ['cut at 512 bytes', 'incomplete', cutAt(512, sign(server, { credentials: temporary }))],
    ['that is a password', 'malformed: no query', 'app-pw'],
    ['that is empty', 'empty', ''],
  ]
  for (const [name, reason, token, user] of refused) {
    await t.test(`refuses a token ${name}`, async t => {
      const expected = { user: user ?? 'iam_user', tokenBytes: token.length, accepted: false, reason }
      t.match(await logIn(server, { token, user: user ?? 'iam_user' }), { errno: 1045, decision: expected })
    })
  }

  await t.test('refuses a valid token without TLS', async t => {
    const outcome = await logIn(server, { token: good, tls: false })
    t.match(outcome, { errno: 1045, decision: { accepted: false, reason: 'no TLS' } })
  })

  await t.test('never logs a token', async t => {
    const log = JSON.stringify(await server.decisions())
    t.notMatch(log, /X-Amz|Signature=/)
    t.notOk(log.includes(temporary.sessionToken!.slice(0, 20)))
  })

  await t.test('accepts an account with a password, and root', async t => {
    t.match(await logIn(server, { user: 'app', token: 'app-pw' }), { user: 'app@%', decision: undefined })
    t.match(await server.query('SELECT 1 AS one; SELECT CURRENT_USER() AS me'), [
      [{ one: 1 }],
      [{ me: 'root@localhost' }],
    ])
  })
})

function sign(server: RealServer, options: Partial<SignTokenOptions> = {}): string {
  const { rdsHost: host, rdsPort: port, region } = server
  return signToken({ host, port, region, user: 'iam_user', credentials: server.keys.longTerm, ...options })
}

async function sdkToken(server: RealServer, credentials: Credentials): Promise<string> {
  const { rdsHost: hostname, rdsPort: port, region } = server
  return await new Signer({ hostname, port, region, username: 'iam_user', credentials }).getAuthToken()
}

/** As drivers with too small a buffer do, but never inside a %XX, whose place depends on the session token. */
function cutAt(bytes: number, token: string): string {
  return token.slice(0, bytes).replace(/%.?$/, '')
}

function changedHost(server: RealServer): string {
  return sign(server, { host: 'nlb.example.com' }).replace('nlb.example.com', server.rdsHost)
}

function withoutSession({ accessKeyId, secretAccessKey }: Credentials): Credentials {
  return { accessKeyId, secretAccessKey }
}

function minutesAgo(minutes: number): Date {
  return new Date(Date.now() - minutes * 60_000)
}

function isAbout(actual: number, expected: number): boolean {
  return Math.abs(actual - expected) < expected * 0.05
}

interface Login {
  token: string
  user?: string
  tls?: boolean
}

async function logIn(server: RealServer, { token, user = 'iam_user', tls = true }: Login): Promise<Outcome> {
  const stream = connect(server.port, server.host)
  let connectionId = 0
  // mysql2 tells the id only of connections that have logged in
  stream.once('data', greeting => {
    connectionId = greeting.readUInt32LE(greeting.indexOf(0, 5) + 1)
  })
  const connection = mysql.createConnection({
    // the name that is verified; the stream is what goes there
    host: server.rdsHost,
    stream,
    user,
    authPlugins: { mysql_clear_password: () => () => Buffer.from(`${token}\0`) },
    password: token,
    ...(tls ? { ssl: { ca: server.ca, verifyIdentity: true } } : {}),
  })
  const outcome = await new Promise<Omit<Outcome, 'decision'>>(resolve => {
    connection.on('error', error => resolve({ errno: (error as mysql.QueryError).errno!, message: error.message }))
    connection.query<mysql.RowDataPacket[]>('SELECT CURRENT_USER() AS me', (error, rows) => {
      resolve(error ? { errno: error.errno!, message: error.message } : { user: rows[0]!.me })
    })
  })
  connection.destroy()
  return { ...outcome, decision: await lastDecision(server, connectionId, outcome.message !== undefined) }
}

/** A login that is refused for want of TLS is first accepted; that line and the answer to the client may come first. */
async function lastDecision(server: RealServer, id: number, isRefused: boolean): Promise<Decision | undefined> {
  for (let attempt = 0; ; attempt++) {
    const decision = (await server.decisions()).findLast(({ connectionId }) => connectionId === id)
    if (!isRefused || decision?.accepted === false || attempt === 50) return decision
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
