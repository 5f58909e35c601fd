import { type Test, test } from 'tap'
import { type Checked, check, type Wanted } from '../../src/check/check.ts'
import { toReport } from '../../src/check/report-file.ts'
import type { Reporter } from '../../src/check/steps.ts'
import { identity, startAwsApi } from '../support/aws-api.ts'
import { lookedAt, setEnvironment, useKeysOf } from '../support/check.ts'
import { realServer } from '../support/mariadb.ts'
import {
  err,
  RDS_HOST,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const ACCOUNT = '123456789012'
const ROLE = `arn:aws:sts::${ACCOUNT}:assumed-role/rds-connect-role/alice@example.com`
const FACTS = { version: '1.2.3', node: 'v24.0.0', platform: 'linux x64' }
const quiet: Reporter = { begin() {}, progress() {}, end() {}, finish() {} }

/** The report of a check. Nothing in it may match a line of `hidden`. */
async function report(t: Test, wanted: Wanted, hidden: readonly string[]): Promise<{ text: string; result: Checked }> {
  const result = await check(async () => ({ ...wanted, report: true }), quiet, new AbortController().signal)
  const text = toReport(result, result.context, FACTS)
  for (const value of hidden) t.notOk(text.includes(value), `${value} is not in the report`)
  t.notMatch(text, /X-Amz|secret-access-key|session-token-of/, 'no secret')
  t.notMatch(text, /\b\d{1,3}(\.\d{1,3}){3}\b/, 'no IPv4 address')
  t.notMatch(text, /\b\d{12}\b/, 'no account id')
  t.notMatch(text, /undefined|NaN|\[object/, 'all filled in')
  return { text, result }
}

test('a real server: what a login looks like, without names', async t => {
  setEnvironment(t)
  await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
  const server = await realServer(t)
  useKeysOf(server)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const proxy = { rdsEndpoint: server.rdsHost, connect: `127.1:${server.port}`, ca: [server.ca] }
  const hidden = [server.rdsHost, server.rdsHost.split('.')[0]!, 'iam_user', accessKeyId, secretAccessKey]
  const never = { ...proxy, tokenInHandshake: 'never' } as const
  const wanted = { user: 'iam_user', database: 'lab', aws: false }
  const { text, result } = await report(t, { ...wanted, proxy }, [...hidden, 'rds-connect-role', 'alice'])
  t.equal(result.failed, undefined)
  for (const line of [
    /\| Result \| a login through the whole path and a query succeeded \|/,
    /\| Endpoint \| `<host-1>`, an instance endpoint \|/,
    /\| Region \| ap-northeast-1 \|/,
    /\| Dialed \| `<host-2>`, not the endpoint itself \|/,
    /\| Version \| [\d.-]+MariaDB/,
    /\| Plugin \| \w+ \|/,
    /\| Capabilities \| 0x[0-9a-f]{8}: .*\bPROTOCOL_41, .*SSL.*PLUGIN_AUTH/,
    /\| Protocol \| TLSv1\.3, TLS_\w+ \|/,
    /\| Group \| (X25519|prime256v1|secp256r1|unknown to this Node\.js)/,
    /\| Names on the certificate \| `<host-1>` \|/,
    /\| the server \| `<ca-1>` \| (rsa \d+|ec \w+) \| \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d \|/,
    /\| Token \| sent inside HandshakeResponse41 \|/,
    /\| Token length \| \d{3,4} bytes \|/,
    /\| Round trips \| [23] from the greeting to the OK_Packet \|/,
    /\| Phases of that login \| token [\d.]+ ms, tls [\d.]+ ms, login [\d.]+ ms \|/,
    /\| wait_timeout \| \d+ \|/,
    /\| session \| warning MAX_CONNECT_ERRORS_LOW \| \d+ ms \|/,
    /\| `<host-1>` \| NAME\.ID\.ap-northeast-1\.rds\.amazonaws\.com \|/,
  ]) {
    t.match(text, line)
  }
  const asked = await report(t, { ...wanted, proxy: never }, hidden)
  t.match(asked.text, /\| Token \| sent in answer to an AuthSwitchRequest \|/)
  t.equal(asked.result.context!.roundTrips, result.context!.roundTrips! + 1, 'one round trip more')

  await t.test('the server refuses the user', async t => {
    const other = await report(t, { ...wanted, proxy, user: 'nobody' }, [...hidden, 'nobody'])
    t.match(
      other.text,
      /AUTH_PLUGIN_UNEXPECTED, ERROR 1045 \(28000\) in the step login: access denied for user '`<user-1>`': the server asks for mysql_native_password, not/,
    )
    t.match(other.text, /\| Round trips \| unknown \|/)
  })
})

/** A server that shows its certificate, and refuses a login with `message`. */
async function refusing(t: Test, message: string): Promise<Wanted> {
  const refuse: Script = async peer => {
    await untilResponse(peer)
    peer.send(err(1045, '28000', message))
    peer.close()
  }
  const upstream = await startScriptedUpstream(t, [lookedAt, refuse])
  const { authority } = await testCertificates()
  const connect = `127.0.0.1:${upstream.port}`
  const proxy = { rdsEndpoint: RDS_HOST, connect, ca: [authority.certificate], caOnly: true }
  return { proxy, user: 'o_brien', database: 'orders', aws: false }
}

test('the words of a server, without the names in them', async t => {
  setEnvironment(t)
  await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
  const { accessKeyId } = { accessKeyId: process.env['AWS_ACCESS_KEY_ID']! }
  const cases: [message: string, shown: string][] = [
    [
      "Access denied for user 'o_brien'@'10.0.0.5' (using password: YES)",
      "Access denied for user '`<user-1>`'@'`<text-1>`' (using password: YES)",
    ],
    ["Unknown database 'orders'", "Unknown database '`<database-1>`'"],
    ["Plugin 'mysql_native_password' is not loaded", "Plugin 'mysql_native_password' is not loaded"],
    [
      'The IAM authentication failed for the role rds-connect-role. Check the IAM token for this role and try again',
      'The IAM authentication failed for the role `<role-1>`. Check the IAM token for this role and try again',
    ],
    [
      'The IAM authentication failed for the role another-role. Try again',
      'The IAM authentication failed for the role `<role-2>`. Try again',
    ],
    [`${ROLE} is not authorized, account ${ACCOUNT}`, '`<arn-1>` is not authorized, account `<account-1>`'],
    [
      `no access for ${accessKeyId} or ASIAQWERTYUIOPASDFGH from 10.1.2.3, fd00::1:2 or ip-10-1-2-3.eu-west-1.compute.internal`,
      'no access for `<key-1>` or `<key-2>` from `<address-2>`, `<address-3>` or `<host-2>`',
    ],
    [`database-1 refused o_brien: ${'x'.repeat(40)}`, 'database-1 refused `<user-1>`: `<text-1>`'],
    ['a\u0001b\u0002\x1b[31m red', 'a b [31m red'],
  ]
  for (const [message, shown] of cases) {
    const wanted = await refusing(t, message)
    const hidden = [RDS_HOST, 'o_brien', 'orders', ACCOUNT, accessKeyId, 'alice', 'rds-connect-role', 'another-role']
    const { text } = await report(t, wanted, hidden)
    const [, found] = /in the step login: (.*) \|$/m.exec(text) ?? []
    t.equal(found, shown)
  }
})

test('without a context, or with a login that went nowhere', async t => {
  setEnvironment(t)
  const missing = await check(
    async () => ({ proxy: { rdsEndpoint: 'secret-name' }, user: 'secret_user', database: undefined, aws: false }),
    quiet,
    new AbortController().signal,
  )
  const text = toReport(missing, missing.context, FACTS)
  t.match(text, /\| Result \| CONFIG_INVALID, ERROR \d+ \(\w+\) in the step configuration \|/)
  t.match(text, /\| configuration \| CONFIG_INVALID \| \d+ ms \|/)
  t.notMatch(text, /secret/)
})

test('the kinds and shapes of names', async t => {
  setEnvironment(t)
  await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
  const { authority } = await testCertificates()
  const cases: [host: string, kind: string, shape: string][] = [
    ['shop.cluster-abc', 'the writer endpoint of an Aurora or Multi-AZ cluster', 'NAME.cluster-ID'],
    ['shop.cluster-ro-abc', 'a reader endpoint of a cluster', 'NAME.cluster-ro-ID'],
    ['shop.cluster-custom-abc', 'a custom endpoint of a cluster', 'NAME.cluster-custom-ID'],
    ['pool.proxy-abc', 'RDS Proxy', 'NAME.proxy-ID'],
    ['read.endpoint.proxy-abc', 'RDS Proxy', 'NAME.endpoint.proxy-ID'],
  ]
  for (const [name, kind, shape] of cases) {
    const rdsEndpoint = `${name}.eu-west-1.rds.amazonaws.com`
    const proxy = { rdsEndpoint, connect: 'nlb.internal.invalid', ca: [authority.certificate], caOnly: true }
    const { text } = await report(t, { proxy, user: 'app', database: undefined, aws: false }, [rdsEndpoint, 'invalid'])
    t.ok(text.includes(`| Endpoint | \`<host-1>\`, ${kind} |`), kind)
    t.ok(text.includes(`| \`<host-1>\` | ${shape}.eu-west-1.rds.amazonaws.com |`), shape)
    t.match(text, '| `<host-2>` | a name that is not one of AWS |')
    t.match(text, /\| Result \| DIAL_DNS, ERROR 1042/)
  }
  const proxy = { rdsEndpoint: 'shop.global-abc.global.rds.amazonaws.com', connect: 'nlb.internal.invalid' }
  const { text } = await report(t, { proxy, user: 'app', database: undefined, aws: false }, ['shop', 'abc'])
  t.match(text, '`<host-1>`, the writer endpoint of an Aurora Global Database')
  t.match(text, '| Region | of the server, from its certificate |')
  t.match(text, '| `<host-1>` | NAME.global-ID.global.rds.amazonaws.com |')
})
