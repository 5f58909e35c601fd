import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createAuthority } from '../../src/demo/certificates.ts'
import type { ErrorCode } from '../../src/index.ts'
import { CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import { writeBundle } from '../../src/upstream/bundle-cache.ts'
import { parseBundle } from '../../src/upstream/rds-bundle.ts'
import { identity, startAwsApi } from '../support/aws-api.ts'
import { failsWith, lookedAt, runCheck, setEnvironment, useKeysOf, warningsOf } from '../support/check.ts'
import { freePort } from '../support/free-port.ts'
import { realServer } from '../support/mariadb.ts'
import { checkEnded, hasToken } from '../support/proxy.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import {
  ACCESS_DENIED,
  authSwitch,
  err,
  greeting,
  greetingWithout,
  RDS_HOST,
  refuseLogin,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const ROLE = 'arn:aws:sts::123456789012:assumed-role/rds-connect/session'

test('a login through the proxy to a real server', async t => {
  setEnvironment(t)
  const api = await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
  const server = await realServer(t)
  useKeysOf(server)
  const options = { rdsEndpoint: server.rdsHost, connect: `127.0.0.1:${server.port}`, ca: [server.ca] }
  // Another spelling of 127.0.0.1, which by itself would be a tunnel on this machine.
  const throughNlb = `127.1:${server.port}`
  const checked = await runCheck(t, { options, database: 'lab' })
  const { json, text } = checked
  t.equal(json.code, 'OK')
  t.same(
    json.steps.map(({ step }) => step),
    [
      'configuration',
      'credentials',
      'clock',
      'token',
      'DNS',
      'TCP',
      'greeting',
      'TLS',
      'login',
      'local leg',
      'session',
    ],
  )
  const facts = Object.assign({}, ...json.steps.map(step => step.facts))
  t.match(facts, {
    dials: `127.0.0.1:${server.port}, a tunnel or port forward on this machine`,
    certificate: server.rdsHost,
    from: /environment/,
    as: ROLE,
    skew: 'less than 2 s',
    for: new RegExp(`user iam_user on ${server.rdsHost}:3306, region ap-northeast-1`),
    [`127.0.0.1:${server.port}`]: /^open, \d+ ms/,
    version: server.version,
    names: [server.rdsHost],
    protocol: /^TLSv1\.[23], /,
    'trusted as': 'one of the option ca',
    token: /HandshakeResponse41/,
    'SELECT CURRENT_USER()': 'iam_user@%',
    'server is': 'a writer',
    wait_timeout: /^\d+ s/,
    keepalive: /after 60 s of idle time, but only up to the tunnel/,
  })
  t.match(text, /A login through the whole path and a query succeeded/)
  t.same(warningsOf(checked), [], 'no word about a load balancer')
  t.same(
    api.requests.map(({ action }) => action),
    ['GetCallerIdentity'],
    'nothing else is asked of AWS',
  )

  await t.test('through a load balancer', async t => {
    const checked = await runCheck(t, { options: { ...options, connect: throughNlb } })
    const facts = Object.assign({}, ...checked.json.steps.map(step => step.facts))
    t.match(facts, { dials: `127.1:${server.port}`, keepalive: /after 60 s of idle time, below the 350 s/ })
    t.match(warningsOf(checked), [{ code: 'MAX_CONNECT_ERRORS_LOW', message: /is 100/ }])
  })

  await t.test('an unknown database', async t => {
    const checked = await runCheck(t, { options, database: 'nosuch' })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [/Unknown database 'nosuch'/, /database name nosuch/])
    t.equal(checked.json.error?.errno, 1049)
  })

  await t.test('an unknown user, and a user with a password', async t => {
    for (const user of ['app', "o'brien"]) {
      const checked = await runCheck(t, { options, user })
      t.equal(checked.json.exitCode, 7)
      t.match(checked.text, `CREATE USER '${user.replace("'", "\\'")}'@'%'`)
    }
  })

  await t.test('a wrong key', async t => {
    const key = process.env['AWS_SECRET_ACCESS_KEY']
    process.env['AWS_SECRET_ACCESS_KEY'] = 'secret-access-key'
    t.teardown(() => {
      process.env['AWS_SECRET_ACCESS_KEY'] = key
    })
    const checked = await runCheck(t, { options })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [/the role rds-connect/, /rds-db:connect/])
    t.equal(checked.json.error?.errno, 1045)
  })

  await t.test('a wrong name', async t => {
    const other = `database-2.${server.rdsHost.split('.').slice(1).join('.')}`
    const ofForward = await runCheck(t, { options: { ...options, rdsEndpoint: other } })
    failsWith(t, ofForward, 'TLS', 'TLS_WRONG_NAME', [
      new RegExp(`--rds-endpoint ${server.rdsHost}`),
      /The tunnel or port forward on 127\.0\.0\.1:\d+ leads to another database/,
    ])
    const ofBalancer = await runCheck(t, { options: { ...options, rdsEndpoint: other, connect: throughNlb } })
    failsWith(t, ofBalancer, 'TLS', 'TLS_WRONG_NAME', [
      new RegExp(`--rds-endpoint ${server.rdsHost}`),
      /A target of 127\.1 may be stale/,
    ])
  })

  await t.test('a wrong region', async t => {
    const checked = await runCheck(t, { options: { ...options, region: 'us-east-1' } })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /signed for region us-east-1, but .* says ap-northeast-1/,
      /"arn:aws:rds-db:ap-northeast-1:123456789012:dbuser:\*\/iam_user"/,
    ])
    t.match(warningsOf(checked), [{ code: 'CONFIG_INVALID', message: /us-east-1/ }])
  })

  await t.test('keepalive too late for an NLB', async t => {
    const checked = await runCheck(t, { options: { ...options, connect: throughNlb, keepalive: 400_000 } })
    t.equal(checked.json.code, 'OK')
    t.match(
      warningsOf(checked).find(({ code }) => code === 'NLB_IDLE_TIMEOUT'),
      { message: /400 s|7 min/ },
    )
  })
})

test('without a user', async t => {
  setEnvironment(t)
  failsWith(t, await runCheck(t, { user: '' }), 'configuration', 'CONFIG_INVALID', [/check NAME, or the option user/])
})

test('an invalid configuration', async t => {
  setEnvironment(t)
  const checked = await runCheck(t, { options: { rdsEndpoint: 'my.database' } })
  failsWith(t, checked, 'configuration', 'CONFIG_INVALID', [/no AWS region in the name my\.database:3306/])
})

test('a name that is unknown to DNS', async t => {
  setEnvironment(t)
  const checked = await runCheck(t, { options: { connect: 'no-such-nlb.invalid' } })
  failsWith(t, checked, 'DNS', 'DIAL_DNS', [/no-such-nlb\.invalid/])
})

test('a closed port', async t => {
  setEnvironment(t)
  const port = await freePort()
  const checked = await runCheck(t, { options: { connect: `127.0.0.1:${port}` } })
  failsWith(t, checked, 'TCP', 'DIAL_REFUSED', [
    new RegExp(`127\\.0\\.0\\.1:${port} is a port of this machine: a tunnel or port forward must listen there`),
    new RegExp(`ssh -N USER@BASTION .*-L127\\.0\\.0\\.1:${port}:${RDS_HOST}:3306`),
  ])
  t.match(checked.json.error?.hint, `Nothing listens on 127.0.0.1:${port}. Start the tunnel or port forward`)
  t.notMatch(JSON.stringify(checked.json.error?.advice), /load balancer|NLB/)

  const ofBalancer = await runCheck(t, { options: { connect: `127.1:${port}` } })
  failsWith(t, ofBalancer, 'TCP', 'DIAL_REFUSED', [
    new RegExp(`127\\.1 needs a TCP listener on ${port}`),
    /check --aws/,
  ])
})

interface Failing {
  name: string
  step: string
  code: ErrorCode
  errno?: number
  /** one for each connection; the first is looked at */
  scripts: Script[]
  says: RegExp[]
  token?: boolean
}

const afterToken =
  (payload: Buffer): Script =>
  async peer => {
    await untilResponse(peer)
    peer.send(payload)
    peer.close()
  }

const refused = (errno: number, sqlState: string, message: string, says: RegExp[]): Failing => ({
  name: `the login is refused with ${errno}`,
  step: 'login',
  code: 'UPSTREAM_REFUSED_LOGIN',
  errno,
  scripts: [lookedAt, afterToken(err(errno, sqlState, message))],
  says,
  token: true,
})

const greetedWith = (errno: number, message: string, says: RegExp[]): Failing => ({
  name: `${errno} in the place of a greeting`,
  step: 'greeting',
  code: 'UPSTREAM_REFUSED_CONNECTION',
  errno,
  scripts: [
    async peer => {
      peer.send(err(errno, undefined, message))
      peer.close()
    },
  ],
  says,
})

const failures: Failing[] = [
  greetedWith(1040, 'Too many connections', [/raise max_connections/]),
  greetedWith(1129, "Host '10.0.0.5' is blocked because of many connection errors", [
    /TRUNCATE TABLE performance_schema\.host_cache/,
    /MariaDB\. There, TRUNCATE has no effect while performance_schema is off.*FLUSH HOSTS/,
    /health check/,
  ]),
  greetedWith(1130, "Host '10.0.0.5' is not allowed to connect", [
    /RENAME USER 'iam_user'@'ITS_HOST' TO 'iam_user'@'%'/,
  ]),
  {
    name: 'a server that is not MySQL',
    step: 'greeting',
    code: 'UPSTREAM_NOT_MYSQL',
    scripts: [async peer => peer.sendRaw('SSH-2.0-OpenSSH_9.2\r\n')],
    says: [/a tunnel or port forward must listen there/],
  },
  {
    name: 'a server that hangs up',
    step: 'greeting',
    code: 'UPSTREAM_CLOSED',
    scripts: [async peer => peer.close()],
    says: [/a tunnel or port forward must listen there/],
  },
  {
    name: 'a server without TLS',
    step: 'greeting',
    code: 'TLS_NOT_OFFERED',
    scripts: [
      async peer => {
        peer.send(greetingWithout(CLIENT_SSL))
        await peer.expect()
        peer.send(ACCESS_DENIED)
      },
    ],
    says: [/does not offer TLS/],
  },
  {
    name: 'plaintext behind the greeting',
    step: 'TLS',
    code: 'TLS_PLAINTEXT_INJECTED',
    scripts: [
      async peer => {
        peer.send(greeting())
        peer.sendRaw('rubbish')
      },
    ],
    says: [/tampering/],
  },
  refused(1045, '28000', "Access denied for user 'iam_user'@'10.0.0.5' (using password: YES)", [
    /the role rds-connect/,
    /"arn:aws:rds-db:eu-west-1:123456789012:dbuser:\*\/iam_user"/,
    /aws iam put-role-policy .*--role-name rds-connect/,
    /CREATE USER 'iam_user'@'%' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL/,
    /modify-db-instance .*--region eu-west-1 .*--db-instance-identifier database-1 .*--enable-iam-database-authentication/,
    /Case matters/,
  ]),
  refused(1044, '42000', "Access denied for user 'iam_user'@'%' to database 'shop'", [
    /GRANT SELECT ON `shop`\.\* TO 'iam_user'@'%'/,
  ]),
  refused(1049, '42000', "Unknown database 'shop'", [/database name shop/]),
  refused(1524, 'HY000', "Plugin 'AWSAuthenticationPlugin' is not loaded", [/--enable-iam-database-authentication/]),
  refused(3118, 'HY000', "Access denied for user 'iam_user'@'%'. Account is locked.", [
    /ALTER USER 'iam_user'@'%' ACCOUNT UNLOCK/,
  ]),
  refused(4151, 'HY000', 'Access denied, this account is locked', [/ALTER USER 'iam_user'@'%' ACCOUNT UNLOCK/]),
  refused(3159, 'HY000', 'Connections using insecure transport are prohibited', [/terminates TLS/]),
  {
    name: 'a user with a password',
    step: 'login',
    code: 'AUTH_PLUGIN_UNEXPECTED',
    scripts: [
      lookedAt,
      async peer => {
        await untilResponse(peer)
        peer.send(authSwitch('sha256_password'))
        await peer.expect()
        peer.send(ACCESS_DENIED)
      },
    ],
    says: [/asks for sha256_password/, /ALTER USER 'iam_user'@'%' IDENTIFIED WITH AWSAuthenticationPlugin/],
    token: true,
  },
]

for (const failing of failures) {
  test(failing.name, async t => {
    setEnvironment(t)
    await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
    const upstream = await startScriptedUpstream(t, failing.scripts)
    const options = { connect: upstream.address, tokenInHandshake: 'always' } as const
    const checked = await runCheck(t, { options, database: 'shop' })
    failsWith(t, checked, failing.step, failing.code, failing.says)
    if (failing.errno !== undefined) t.equal(checked.json.error?.errno, failing.errno)
    await checkEnded(t, upstream)
    t.equal(upstream.connections.some(hasToken), failing.token ?? false, 'whether a token was sent')
    t.notOk(upstream.connections[0] && hasToken(upstream.connections[0]), 'never on the connection that looks')
  })
}

test('the text of a server cannot control the terminal', async t => {
  setEnvironment(t)
  const script: Script = async peer => peer.send(err(1130, undefined, 'no\x1b[2J\x1b[31m\nentry'))
  const upstream = await startScriptedUpstream(t, [script])
  const { text, json } = await runCheck(t, { options: { connect: upstream.address } })
  t.equal(json.error?.errno, 1130)
  t.notMatch(text, '\x1b')
})

test('the policy is JSON to copy, with the ARN of the user', async t => {
  const cases: [rds: string, arn: string, expected: string][] = [
    [RDS_HOST, ROLE, 'arn:aws:rds-db:eu-west-1:123456789012:dbuser:*/iam_user'],
    [
      'database-1.abcdefghijkl.rds.cn-north-1.amazonaws.com.cn',
      'arn:aws-cn:iam::123456789012:user/team/dev',
      'arn:aws-cn:rds-db:cn-north-1:123456789012:dbuser:*/iam_user',
    ],
    [
      'database-1.cluster-abcdefghijkl.us-gov-west-1.rds.amazonaws.com',
      'arn:aws-us-gov:sts::123456789012:assumed-role/AWSReservedSSO_DbAccess_0123456789abcdef/me',
      'arn:aws-us-gov:rds-db:us-gov-west-1:123456789012:dbuser:*/iam_user',
    ],
  ]
  for (const [rdsEndpoint, arn, expected] of cases) {
    await t.test(rdsEndpoint, async t => {
      setEnvironment(t)
      await startAwsApi(t, { GetCallerIdentity: identity(arn) })
      const { authority } = await testCertificates()
      const certificate = await authority.issue({ names: [rdsEndpoint] })
      const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
      const checked = await runCheck(t, { options: { rdsEndpoint, connect: upstream.address } })
      failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [/rds-db:connect/])
      t.same(policyIn(t, checked.text), policyOf(expected), 'on the terminal')
      const copy = checked.json.error?.advice.find(({ snippet: copy }) => copy?.startsWith('{'))?.snippet
      t.same(JSON.parse(copy ?? ''), policyOf(expected), 'in the document')
    })
  }
})

function policyOf(arn: string) {
  return { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'rds-db:connect', Resource: arn }] }
}

/** As somebody would copy it. */
function policyIn(t: Test, text: string): unknown {
  const lines = text.split('\n')
  const first = lines.findIndex(line => line.trim() === '{')
  const last = lines.findIndex((line, index) => index > first && line === '    }')
  t.ok(first > 0 && last > first, 'there is a policy')
  return JSON.parse(lines.slice(first, last + 1).join('\n'))
}

test('certificates', async t => {
  const { authority } = await testCertificates()
  const other = await createAuthority('somebody else')
  const day = 86_400_000
  const [unknown, expired, soon, elsewhere] = await Promise.all([
    other.issue({ names: [RDS_HOST] }),
    authority.issue({
      names: [RDS_HOST],
      notBefore: new Date(Date.now() - 9 * day),
      notAfter: new Date(Date.now() - day),
    }),
    authority.issue({ names: [RDS_HOST], notAfter: new Date(Date.now() + 9.5 * day) }),
    authority.issue({ names: ['database-9.abcdefghijkl.eu-west-1.rds.amazonaws.com'] }),
  ])
  const cases: [name: string, certificate: typeof soon, code: ErrorCode, says: RegExp[]][] = [
    [
      'of an unknown authority',
      unknown,
      'TLS_UNKNOWN_CA',
      [/only the authorities of the option ca are trusted/, /--ca FILE/],
    ],
    ['that has expired', expired, 'TLS_EXPIRED', [/Renew the server certificate/]],
    ['of another database', elsewhere, 'TLS_WRONG_NAME', [/--rds-endpoint database-9\./, /leads to another database/]],
  ]
  for (const [name, certificate, code, says] of cases) {
    await t.test(name, async t => {
      setEnvironment(t)
      const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
      const checked = await runCheck(t, { options: { connect: upstream.address } })
      failsWith(t, checked, 'TLS', code, says)
      await checkEnded(t, upstream)
      t.equal(upstream.connections.length, 1)
      t.notOk(upstream.connections.some(hasToken), 'no token was sent')
      t.ok(upstream.connections[0]!.decrypted.length > 0, 'and it left with a login to refuse')
    })
  }

  await t.test('of a CA of a region that is not built in', async t => {
    setEnvironment(t)
    const rdsEndpoint = 'database-1.abcdefghijkl.il-central-1.rds.amazonaws.com'
    const rds = createRdsAuthority('il-central-1')
    const { certificate, key } = rds.issue(rdsEndpoint)
    const upstream = await startScriptedUpstream(t, [refuseLogin({ certificate: certificate + rds.root, key })])
    const folder = join(t.testdir(), 'cache')
    const options = { rdsEndpoint, connect: upstream.address, ca: [], caOnly: false, bundleCache: folder }
    const checked = await runCheck(t, { options })
    failsWith(t, checked, 'TLS', 'TLS_UNKNOWN_CA', [
      /not issued by a trusted CA \(SELF_SIGNED_CERT_IN_CHAIN\); the built-in RDS bundle has no CA of il-central-1/,
      /The built-in RDS bundle has no CA of il-central-1. Download them from AWS:/,
      /Download them from AWS:.{0,80}trust update .{0,8}--rds-endpoint database-1\.abcdefghijkl\.il-central-1\./s,
    ])
    t.match(
      checked.text.replace(/\s+/g, ' '),
      /no CA of il-central-1: for a database there, run mysql-iam-proxy trust update/,
    )
    t.notMatch(checked.text, /intercepts TLS|on the path replaces/)
    await writeBundle(folder, 'il-central-1', parseBundle(rds.root, 'test').roots)
    const again = await runCheck(t, { options })
    t.match(again.text, /1 downloaded CA certificates? of il-central-1/)
    t.match(again.text, /a downloaded one of RDS/)
  })

  await t.test('that expires soon', async t => {
    setEnvironment(t)
    const upstream = await startScriptedUpstream(t, [refuseLogin(soon)])
    const checked = await runCheck(t, { options: { connect: upstream.address } })
    t.match(warningsOf(checked), [{ code: 'AWS_UNREACHABLE' }, { code: 'TLS_EXPIRES_SOON', message: /in 9 days/ }])
  })
})

test('a database that greets late', async t => {
  setEnvironment(t)
  const late: Script = async peer => {
    await waited
    await lookedAt(peer)
  }
  let resume = () => {}
  const waited = new Promise<void>(resolve => {
    resume = resolve
  })
  const upstream = await startScriptedUpstream(t, [late, refuseLogin()])
  const isWaiting = (line: string) => line.includes('… greeting: waiting') && resume()
  const checked = await runCheck(t, { options: { connect: upstream.address }, onText: isWaiting })
  t.match(checked.text, /… greeting: waiting; a paused Aurora Serverless database takes 15 s/)
  const step = checked.json.steps.find(({ step }) => step === 'greeting')
  t.match(step, { status: 'ok', facts: { waited: /^\d+ s$/, version: /8\.0\.39/ } })
})
