import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createCredentials } from '../../src/aws/credentials.ts'
import { fromRolesAnywhere } from '../../src/aws/roles-anywhere.ts'
import { endpointOf, type RolesAnywhereOptions, rolesAnywhereProblems } from '../../src/aws/roles-anywhere-options.ts'
import { ERRORS } from '../../src/error-codes.ts'
import { hintFor } from '../../src/errors.ts'
import { LIBRARY_NAMES } from '../../src/option-values.ts'
import { failureOf } from '../support/failure-of.ts'
import { startHttpProxy } from '../support/forward-proxy.ts'
import {
  ARNS,
  CREDENTIALS,
  concatenate,
  EC,
  HOST,
  issue,
  openssl,
  optionsFor,
  REGION,
  RSA,
  refuse,
  startRolesAnywhere,
} from '../support/roles-anywhere.ts'

const minute = 60_000

/** An authority, a stand-in that trusts it, and a certificate of a host. */
async function setUp(t: Test, options: Partial<Parameters<typeof startRolesAnywhere>[1]> = {}) {
  const directory = t.testdir({})
  const authority = await issue(directory, 'authority', { ca: true })
  const host = await issue(directory, 'host', { issuer: authority })
  const standIn = await startRolesAnywhere(t, { authority, ...options })
  return { directory, authority, host, standIn, options: optionsFor(host, standIn) }
}

test('keys and certificates of all kinds', async t => {
  const { directory, authority, standIn } = await setUp(t)
  const topBit = `0x${'f'.repeat(40)}`
  const kinds: [name: string, algorithm: string, options: Parameters<typeof issue>[2]][] = [
    ['rsa-2048', 'AWS4-X509-RSA-SHA256', { key: RSA(2048) }],
    ['rsa-4096-sha384', 'AWS4-X509-RSA-SHA256', { key: RSA(4096), hash: 'sha384' }],
    ['p256', 'AWS4-X509-ECDSA-SHA256', { key: EC('P-256') }],
    ['p384-sha512', 'AWS4-X509-ECDSA-SHA256', { key: EC('P-384'), hash: 'sha512' }],
    ['serial', 'AWS4-X509-ECDSA-SHA256', { serial: topBit }],
  ]
  for (const [name, algorithm, options] of kinds) {
    const host = await issue(directory, name, { issuer: authority, ...options })
    const { certificate, expiration, ...keys } = await fromRolesAnywhere(optionsFor(host, standIn))
    t.same(keys, CREDENTIALS, name)
    t.equal(certificate?.name, `CN=${name}`)
    const left = (certificate?.expires.getTime() ?? 0) - Date.now()
    t.ok(left > 29 * 24 * 60 * minute && left <= 30 * 24 * 60 * minute, 'when the certificate expires')
    t.ok(expiration && expiration.getTime() > Date.now() + 59 * minute)
    t.equal(standIn.asked.at(-1)?.algorithm, algorithm)
  }
  t.equal(standIn.asked.at(-1)?.serial, BigInt(topBit).toString(), '160 bits, decimal')
  t.same(standIn.asked[0]?.body, { durationSeconds: 3_600, ...ARNS }, 'no session name')
})

test('what is asked for', async t => {
  const { options, standIn } = await setUp(t)
  await fromRolesAnywhere({ ...options, duration: 12 * 60 * minute, sessionName: 'etl' })
  t.match(standIn.asked[0]?.body, { durationSeconds: 43_200, roleSessionName: 'etl' })
})

test('intermediate certificates', async t => {
  const { directory, authority, standIn } = await setUp(t)
  const first = await issue(directory, 'first', { issuer: authority, ca: true })
  const second = await issue(directory, 'second', { issuer: first, ca: true })
  const host = await issue(directory, 'deep', { issuer: second })
  const options = optionsFor(host, standIn)
  t.equal((await failureOf(fromRolesAnywhere(options))).code, 'CREDENTIALS_ROLES_ANYWHERE')
  const intermediatesFile = concatenate(directory, 'bundle.pem', second.certificateFile, first.certificateFile)
  await fromRolesAnywhere({ ...options, intermediatesFile })
  t.equal(standIn.asked.at(-1)?.chain.length, 2)
  const whole = concatenate(directory, 'fullchain.pem', host.certificateFile, intermediatesFile)
  await fromRolesAnywhere({ ...options, certificateFile: whole })
  await fromRolesAnywhere({ ...options, certificateFile: whole, intermediatesFile })
  t.same(
    standIn.asked.map(({ chain }) => chain.length),
    [2, 2, 2],
    'each certificate once',
  )
})

test('forms of the key: PKCS #1, SEC 1 with its parameters, encrypted PKCS #8', async t => {
  const { directory, authority, host, standIn } = await setUp(t)
  const rsa = await issue(directory, 'rsa', { issuer: authority, key: RSA(2048) })
  const pkcs1 = join(directory, 'pkcs1.pem')
  await openssl('pkey', '-in', rsa.keyFile, '-traditional', '-out', pkcs1)
  t.match(readFileSync(pkcs1, 'utf8'), 'BEGIN RSA PRIVATE KEY')
  await fromRolesAnywhere({ ...optionsFor(rsa, standIn), keyFile: pkcs1 })

  const parameters = join(directory, 'parameters.pem')
  const sec1 = join(directory, 'sec1.pem')
  await openssl('ecparam', '-name', 'prime256v1', '-out', parameters)
  await openssl('pkey', '-in', host.keyFile, '-traditional', '-out', sec1)
  t.match(readFileSync(sec1, 'utf8'), 'BEGIN EC PRIVATE KEY')
  const keyFile = concatenate(directory, 'ecparam.pem', parameters, sec1)
  await fromRolesAnywhere({ ...optionsFor(host, standIn), keyFile })

  const encrypted = join(directory, 'encrypted.pem')
  await openssl('pkcs8', '-topk8', '-in', host.keyFile, '-passout', 'pass:hunter2', '-out', encrypted)
  const options = { ...optionsFor(host, standIn), keyFile: encrypted }
  const passphrase = (text: string) => {
    const keyPassphraseFile = join(directory, 'passphrase')
    writeFileSync(keyPassphraseFile, text)
    return { ...options, keyPassphraseFile }
  }
  await fromRolesAnywhere(passphrase('hunter2\n'))
  const without = await failureOf(fromRolesAnywhere(options))
  t.match(without.message, /encrypted.pem: is encrypted; give its passphrase in a file$/)
  const wrong = await failureOf(fromRolesAnywhere(passphrase('hunter3\n')))
  t.match(wrong.message, /encrypted.pem: does not open with this passphrase/)
  t.notMatch(wrong.message, /hunter/)
  t.equal(standIn.asked.length, 3)
})

test('a certificate that was replaced counts from the next request on', async t => {
  const { directory, authority, host, options, standIn } = await setUp(t)
  await fromRolesAnywhere(options)
  const next = await issue(directory, 'next', { issuer: authority, key: RSA(2048) })
  copyFileSync(next.certificateFile, host.certificateFile)
  copyFileSync(next.keyFile, host.keyFile)
  t.equal((await fromRolesAnywhere(options)).certificate?.name, 'CN=next')
  t.not(standIn.asked[0]?.serial, standIn.asked[1]?.serial)
})

test('files that cannot be used: AWS is not asked', async t => {
  const { directory, authority, host, options, standIn } = await setUp(t)
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text)
    return join(directory, name)
  }
  const other = await issue(directory, 'other', { issuer: authority })
  const ed25519 = await issue(directory, 'ed25519', { issuer: authority, key: ['-algorithm', 'ED25519'] })
  const noSignature = await issue(directory, 'no-signature', {
    issuer: authority,
    extensions: ['basicConstraints=CA:FALSE', 'keyUsage=keyEncipherment'],
  })
  const damaged = readFileSync(host.certificateFile, 'utf8').replace(/\n[A-Za-z0-9+/]{20}/, '\nAAAAAAAAAAAAAAAAAAAA')
  const pem = readFileSync(host.certificateFile, 'utf8')
  const cases: [wrong: Partial<RolesAnywhereOptions>, message: RegExp][] = [
    [{ certificateFile: join(directory, 'nowhere.pem') }, /nowhere\.pem: cannot be read: ENOENT$/],
    [{ certificateFile: file('empty.pem', '') }, /empty\.pem: has no PEM certificate$/],
    [{ certificateFile: file('damaged.pem', damaged) }, /damaged\.pem: has a certificate that is damaged$/],
    [{ intermediatesFile: file('text.pem', 'hunter2') }, /text\.pem: has no PEM certificate$/],
    [{ keyFile: file('no-key.pem', pem) }, /no-key\.pem: has no PEM private key$/],
    [{ keyFile: other.keyFile }, /other-key\.pem: is not the key of the certificate in .*host\.pem$/],
    [ed25519, /ed25519-key\.pem: is a ed25519 key; IAM Roles Anywhere takes RSA and EC keys$/],
    [authority, /authority\.pem: the certificate is that of an authority \(CA:TRUE\)/],
    [noSignature, /no-signature\.pem: the key usage of the certificate has no digitalSignature$/],
  ]
  for (const [wrong, message] of cases) {
    const error = await failureOf(fromRolesAnywhere({ ...options, ...wrong }))
    t.equal(error.code, 'CREDENTIALS_CERTIFICATE_INVALID', message.source)
    t.match(error.message, message)
    t.notMatch(`${error.message} ${error.stack}`, /hunter2|PRIVATE KEY-/)
  }
  const now = Date.now
  for (const [days, message] of [
    [-1, /host\.pem: the certificate is not valid before 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/],
    [31, /host\.pem: the certificate expired at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/],
  ] as const) {
    const clock = t.intercept(Date, 'now', { value: () => now() + days * 24 * 60 * minute })
    t.match((await failureOf(fromRolesAnywhere(options))).message, message)
    clock.restore()
  }
  t.equal(standIn.requests, 0)
})

test('a certificate without a key usage is left to AWS', async t => {
  const { directory, authority, standIn } = await setUp(t)
  const plain = await issue(directory, 'plain', { issuer: authority, extensions: ['basicConstraints=CA:FALSE'] })
  await fromRolesAnywhere(optionsFor(plain, standIn))
  t.equal(standIn.asked.length, 1)
})

test('AWS refuses: its error and its reason are shown', async t => {
  for (const [status, name, message, code, shown] of [
    [
      403,
      'AccessDeniedException',
      'Untrusted certificate. Insufficient certificate.',
      'CREDENTIALS_ROLES_ANYWHERE',
      /AccessDeniedException: Untrusted certificate\. Insufficient certificate$/,
    ],
    [
      404,
      'ResourceNotFoundException',
      'TrustAnchor not found.',
      'CREDENTIALS_ROLES_ANYWHERE',
      /ResourceNotFoundException: TrustAnchor not found$/,
    ],
    [400, 'ValidationException', 'Value <script> of hunter2', 'CREDENTIALS_ROLES_ANYWHERE', /ValidationException$/],
    [429, 'ThrottlingException', 'Rate exceeded', 'CREDENTIALS_UNREACHABLE', /answered HTTP 429, ThrottlingException$/],
    [
      503,
      'InternalServerException',
      'hunter2',
      'CREDENTIALS_UNREACHABLE',
      /answered HTTP 503, InternalServerException$/,
    ],
  ] as const) {
    await t.test(name, async t => {
      const { options } = await setUp(t, { answer: (_request, response) => refuse(response, status, name, message) })
      const error = await failureOf(fromRolesAnywhere(options))
      t.equal(error.code, code)
      t.match(error.message, shown)
      t.notMatch(error.message, /hunter2|\.$/)
      t.equal(ERRORS[error.code].exitCode, 3)
    })
  }
})

test('something else answers', async t => {
  for (const [status, body] of [
    [302, ''],
    [403, '<html>blocked</html>'],
    [200, '<html>log in first</html>'],
    [201, '{"credentialSet":[{"credentials":{"accessKeyId":"A","secretAccessKey":"hunter2"}}]}'],
    [201, JSON.stringify({ credentialSet: [{ credentials: { ...CREDENTIALS, expiration: 'soon' } }] })],
    [201, 'x'.repeat(300 << 10)],
  ] as const) {
    const { options } = await setUp(t, {
      answer: (_request, response) => void response.writeHead(status).end(body),
    })
    const error = await failureOf(fromRolesAnywhere(options))
    t.equal(error.code, 'CREDENTIALS_UNREACHABLE', `${status} ${body.slice(0, 40)}`)
    t.notMatch(error.message, /hunter2|secret/)
    t.match(hintFor(error, {}), /network path .* to 127\.0\.0\.1:\d+/)
  }
})

test('nothing answers', async t => {
  const { options } = await setUp(t)
  const refused = await failureOf(fromRolesAnywhere({ ...options, endpoint: 'https://127.0.0.1:1' }))
  t.equal(refused.code, 'CREDENTIALS_UNREACHABLE')
  t.match(refused.message, /IAM Roles Anywhere \(127\.0\.0\.1:1\) is unreachable: ECONNREFUSED/)

  const silent = createServer()
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const stop = new AbortController()
  silent.once('connection', socket => {
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    stop.abort()
  })
  const endpoint = `https://127.0.0.1:${(silent.address() as { port: number }).port}`
  const late = await failureOf(fromRolesAnywhere({ ...options, endpoint }, stop.signal))
  t.equal(late.code, 'CREDENTIALS_UNREACHABLE')
  t.match(late.message, /did not answer in time/)
})

test('an answer that hangs', async t => {
  const stop = new AbortController()
  const { options } = await setUp(t, {
    answer: (_request, response) => {
      response.writeHead(201).write('{')
      stop.abort()
    },
  })
  t.equal((await failureOf(fromRolesAnywhere(options, stop.signal))).code, 'CREDENTIALS_UNREACHABLE')
})

test('the Date of a refusal shows a wrong clock', async t => {
  for (const [minutes, message] of [
    [-10, /clock of this machine is 10 min ahead/],
    [10, /clock of this machine is 10 min behind/],
  ] as const) {
    const { options, standIn } = await setUp(t, { clockAhead: minutes * minute })
    const error = await failureOf(fromRolesAnywhere(options))
    t.equal(error.code, 'CLOCK_SKEW')
    t.match(error.message, message)
    t.equal(standIn.requests, 1)
  }
})

test('an endpoint that is not trusted gets no request', async t => {
  const { options, standIn } = await setUp(t)
  delete process.env.AWS_CA_BUNDLE
  const error = await failureOf(fromRolesAnywhere(options))
  t.match(error.code, /^(AWS_TLS_UNTRUSTED|CREDENTIALS_UNREACHABLE)$/)
  t.equal(standIn.requests, 0)
})

test('the service’s own endpoint, through the proxy of HTTPS_PROXY', async t => {
  const { options, standIn } = await setUp(t)
  const { endpoint, ...own } = options
  const port = Number(new URL(endpoint!).port)
  const direct = await startHttpProxy(t, { port })
  const filter = await startHttpProxy(t, { port, answer: '403 Filtered' })
  t.teardown(() => {
    delete process.env.HTTPS_PROXY
  })
  process.env.HTTPS_PROXY = `http://${direct.address}`
  t.equal((await fromRolesAnywhere(own)).accessKeyId, CREDENTIALS.accessKeyId)
  t.same(direct.targets, [`${HOST}:443`])
  process.env.HTTPS_PROXY = `http://${filter.address}`
  t.equal((await failureOf(fromRolesAnywhere(own))).code, 'FORWARD_PROXY_REFUSED')
  t.equal(standIn.requests, 1)
})

test('createCredentials caches what CreateSession answers', async t => {
  const { options, standIn } = await setUp(t)
  const credentials = createCredentials({ region: 'us-east-1', rolesAnywhere: options })
  t.equal((await credentials()).accessKeyId, CREDENTIALS.accessKeyId)
  t.equal((await credentials()).certificate?.name, 'CN=host')
  t.equal(standIn.requests, 1)
})

test('the endpoint of each partition', async t => {
  const hosts = {
    'aws:eu-west-1': 'rolesanywhere.eu-west-1.amazonaws.com',
    'aws-us-gov:us-gov-west-1': 'rolesanywhere.us-gov-west-1.amazonaws.com',
    'aws-cn:cn-north-1': 'rolesanywhere.cn-north-1.amazonaws.com.cn',
    'aws-eusc:eusc-de-east-1': 'rolesanywhere.eusc-de-east-1.amazonaws.eu',
    'aws-iso:us-iso-east-1': 'rolesanywhere.us-iso-east-1.c2s.ic.gov',
  }
  const files = { certificateFile: 'c', keyFile: 'k' }
  for (const [where, host] of Object.entries(hosts)) {
    const [partition, region] = where.split(':')
    const trustAnchorArn = `arn:${partition}:rolesanywhere:${region}:123456789012:trust-anchor/1`
    const profileArn = `arn:${partition}:rolesanywhere:${region}:123456789012:profile/1`
    const options = { ...files, trustAnchorArn, profileArn, roleArn: `arn:${partition}:iam::123456789012:role/a/b` }
    t.same(rolesAnywhereProblems({ rolesAnywhere: options }, LIBRARY_NAMES), [])
    t.equal(endpointOf(options).host, host)
  }
})

test('options that are wrong', async t => {
  const right: RolesAnywhereOptions = { certificateFile: 'c', keyFile: 'k', ...ARNS }
  const problems = (options: Partial<RolesAnywhereOptions>, profile?: string) =>
    rolesAnywhereProblems({ profile, rolesAnywhere: { ...right, ...options } }, LIBRARY_NAMES)
  t.same(rolesAnywhereProblems({ profile: 'dev' }, LIBRARY_NAMES), [])
  t.same(problems({}), [])
  t.same(problems({ keyFile: '', roleArn: '' }), [
    'rolesAnywhere.keyFile is missing; IAM Roles Anywhere needs it',
    'rolesAnywhere.roleArn is missing; IAM Roles Anywhere needs it',
  ])
  t.match(problems({}, 'dev'), [/^profile: contradicts rolesAnywhere\.certificateFile/])
  t.match(problems({ profileArn: ARNS.profileArn.replace(REGION, 'us-east-1') }), [
    /^rolesAnywhere\.profileArn: its region us-east-1 is not that of rolesAnywhere\.trustAnchorArn, eu-west-1$/,
  ])
  for (const wrong of [
    { trustAnchorArn: ARNS.profileArn },
    { profileArn: ARNS.trustAnchorArn },
    { roleArn: 'rds-connect' },
    { endpoint: 'http://127.0.0.1:1' },
    { endpoint: 'https://user:hunter2@host' },
    { sessionName: 'a b' },
    { duration: 60_000 },
    { duration: Number.NaN },
  ]) {
    t.equal(problems(wrong).length, 1, JSON.stringify(wrong))
    t.notMatch(problems(wrong).join(), 'hunter2', 'a password is not repeated')
  }
})
