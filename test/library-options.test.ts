/** The options of `createProxy`: what is refused, with which words, and what passes. */
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { libraryOptions, withLibraryOptions } from '../docs/make-library-options.ts'
import { createProxy, ProxyError, type ProxyOptions } from '../src/index.ts'
import { checkOptions } from '../src/proxy/check-options.ts'
import { LIBRARY_OPTIONS } from '../src/proxy/option-table.ts'
import { createRandom, type Random } from './fuzz/random.ts'
import { authorityOf } from './support/authorities.ts'
import { realServer } from './support/mariadb.ts'
import { compilerErrors } from './support/type-check.ts'

const RDS = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const SECRET = 'hunter2'
const ARN = 'arn:aws:rolesanywhere:eu-west-1:123456789012'
const rolesAnywhere = {
  certificateFile: '/etc/pki/host.pem',
  keyFile: '/etc/pki/host.key',
  trustAnchorArn: `${ARN}:trust-anchor/a`,
  profileArn: `${ARN}:profile/b`,
  roleArn: 'arn:aws:iam::123456789012:role/db',
}
const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: SECRET }
const logger = { error() {}, warn() {}, info() {}, debug() {} }
const [root = '', other = ''] = rootCertificates
const broken = '-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n'
const name = 'a'

/** The message of `createProxy` for these options; undefined if it takes them. */
function messageFor(t: Test, given: unknown): string | undefined {
  try {
    createProxy(given as ProxyOptions)
    return undefined
  } catch (error) {
    t.ok(error instanceof ProxyError && error.code === 'CONFIG_INVALID', `${error}`)
    t.match((error as ProxyError).hint, /docs\/library\.md/)
    return (error as Error).message
  }
}

/** Options beside a valid `rdsEndpoint`, and the message about them. */
const BAD: readonly (readonly [given: Record<string, unknown>, message: string])[] = [
  // names
  [{ localUser: [] }, 'localUser: unknown option; did you mean localUsers?'],
  [{ allowfrom: [] }, 'allowfrom: unknown option; did you mean allowFrom?'],
  [{ 'max-connections': 5 }, 'max-connections: unknown option; did you mean maxConnections?'],
  [{ login_timeout: 5 }, 'login_timeout: unknown option; did you mean loginTimeout?'],
  [{ tlsCert: 'a' }, 'tlsCert: unknown option; did you mean tls.certFile?'],
  [{ rolesAnywhereKey: 'a' }, 'rolesAnywhereKey: unknown option; did you mean rolesAnywhere.keyFile?'],
  [{ host: 'a' }, 'host: unknown option; did you mean rdsEndpoint?'],
  [{ port: 3306 }, 'port: unknown option; did you mean listen?'],
  [{ password: SECRET }, 'password: unknown option; did you mean localUsers?'],
  [{ adminListen: '127.0.0.1:9090' }, 'adminListen: unknown option'],
  [{ 'a\nb': 1 }, '"a\\nb": unknown option'],
  [{ toString: 1 }, 'toString: unknown option'],
  [
    Object.create({ allowedFrom: [] }) as object as Record<string, unknown>,
    'allowedFrom: unknown option; did you mean allowFrom?; rdsEndpoint is missing',
  ],
  [{ localUsers: [{ name, passwd: SECRET }] }, 'localUsers[0].passwd: unknown option; did you mean password?'],
  [{ localUsers: [{ user: 'a', password: SECRET }] }, 'localUsers[0].name is missing'],
  [{ tls: { cert: 'a', keyFile: 'b' } }, 'tls.cert: unknown option; did you mean certFile?; tls.certFile is missing'],
  // strings
  [{ rdsEndpoint: undefined }, 'rdsEndpoint is missing'],
  [{ rdsEndpoint: null }, `rdsEndpoint: needs a string such as '${RDS}', not null`],
  [{ rdsEndpoint: '' }, 'rdsEndpoint: needs a value'],
  [
    { rdsEndpoint: `mysql://root:${SECRET}@${RDS}/app` },
    `rdsEndpoint: this URL has more than a host and a port; write ${RDS}, and give user and database to the client`,
  ],
  [
    { rdsEndpoint: 'nlb.elb.eu-west-1.amazonaws.com' },
    "rdsEndpoint: nlb.elb.eu-west-1.amazonaws.com is a load balancer; give the database's own endpoint here, and that name as connect",
  ],
  [{ connect: '' }, 'connect: needs a value'],
  [
    { connect: ['a'] },
    "connect: needs a string such as 'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com', not an array",
  ],
  [{ connect: 'nlb:0' }, 'connect: "nlb:0" has port 0; write the port of the database, usually 3306'],
  [{ listen: 3307 }, "listen: needs a string such as '127.0.0.1:3306', not a number"],
  [{ listen: '3307' }, 'listen: "3307" has no host; write 127.0.0.1:3307 for that port'],
  [{ listen: { host: '127.0.0.1', port: 0 } }, "listen: needs a string such as '127.0.0.1:3306', not an object"],
  [{ listen: 'unix:relative' }, 'listen: "unix:relative" is not unix: and an absolute path of at most 103 bytes'],
  [
    { listen: '0.0.0.0:3306' },
    'listen: other machines can reach 0.0.0.0:3306 and use the database without a password; set local users (localUsers) and TLS (tls), or trustNetwork if the network itself is isolated, as that of a pod is',
  ],
  [
    { listen: '0.0.0.0:3306', localUsers: [] },
    'listen: other machines can reach 0.0.0.0:3306 and send passwords without TLS; set TLS (tls), or trustNetwork if the network itself is isolated, as that of a pod is',
  ],
  [{ name: Symbol('a') }, "name: needs a string such as 'orders', not a symbol"],
  [{ name: 'a\0b' }, 'name: contains a NUL character'],
  [{ user: () => 'a' }, "user: needs a string such as 'iam_readonly', not a function"],
  [{ user: 'a\n' }, 'user: a database user has no control characters in its name'],
  [{ user: 'arn:aws:iam::123456789012:user/a' }, 'user: this is an ARN; write the name of the user in the database'],
  [{ region: 'ireland' }, 'region: "ireland" is not an AWS region such as eu-west-1'],
  [{ profile: 5n }, "profile: needs a string such as 'production', not a bigint"],
  [{ bundleCache: true }, "bundleCache: needs a string such as '/var/cache/mysql-iam-proxy', not true"],
  [
    { proxy: new URL(`http://a:${SECRET}@proxy:80`) },
    "proxy: needs a string such as 'socks5://proxy.internal:1080', not an object",
  ],
  [
    { proxy: `ftp://a:${SECRET}@proxy` },
    'proxy: not socks5://[USER:PASSWORD@]HOST:PORT or http://…; special characters need percent-encoding',
  ],
  [
    { tunnel: `ssh ${SECRET}` },
    'tunnel: the command has no {localPort}, the port on 127.0.0.1 that it must forward to {host}:{port}',
  ],
  [
    { ssmTarget: 'i-1' },
    'ssmTarget: "i-1" is not an instance (i-…), a managed node (mi-…) or a container (ecs:CLUSTER_TASKID_RUNTIMEID)',
  ],
  [{ region: 'a'.repeat(101) }, 'region: has 101 characters; at most 100 are possible'],
  [{ name: 'a'.repeat(1e5) }, 'name: has 100000 characters; at most 4096 are possible'],
  // numbers
  [{ loginTimeout: Number.NaN }, 'loginTimeout: NaN is not from 1 to 86400000'],
  [{ loginTimeout: '5s' }, 'loginTimeout: needs a number of milliseconds, not "5s"; write 5000'],
  [{ loginTimeout: ' 8000 ' }, 'loginTimeout: needs a number of milliseconds, not " 8000 "; write 8000'],
  [{ loginTimeout: SECRET }, 'loginTimeout: needs a number of milliseconds, not a string'],
  [{ loginTimeout: '99999999h' }, 'loginTimeout: needs a number of milliseconds, not a string'],
  [{ loginTimeout: 8_000n }, 'loginTimeout: needs a number of milliseconds, not a bigint; write 8000'],
  [{ loginTimeout: -1 }, 'loginTimeout: -1 is not from 1 to 86400000'],
  [{ loginTimeout: -0 }, 'loginTimeout: 0 is not from 1 to 86400000'],
  [{ loginTimeout: new Date(0) }, 'loginTimeout: needs a number of milliseconds, not an object'],
  [{ keepalive: Number.POSITIVE_INFINITY }, 'keepalive: Infinity is not from 1 to 86400000'],
  [
    { tcpUserTimeout: Number.POSITIVE_INFINITY },
    "tcpUserTimeout: Infinity is not from 0 to 86400000; write 0 for the kernel's own limit",
  ],
  [
    { tunnelIdleTimeout: Number.POSITIVE_INFINITY },
    'tunnelIdleTimeout: Infinity is not from 0 to 86400000; write 0 for a tunnel that stays open',
  ],
  [{ connectTimeout: null }, 'connectTimeout: needs a number of milliseconds, not null'],
  [{ greetingTimeout: [] }, 'greetingTimeout: needs a number of milliseconds, not an array'],
  [{ clientWriteTimeout: {} }, 'clientWriteTimeout: needs a number of milliseconds, not an object'],
  [{ tunnelTimeout: 0 }, 'tunnelTimeout: 0 is not from 1 to 86400000'],
  [{ tokenReuse: 600_001 }, 'tokenReuse: 600001 is not from 0 to 600000'],
  [{ busyPoll: 2 }, 'busyPoll: 2 is not from 0 to 1'],
  [{ maxConnections: 1.5 }, 'maxConnections: 1.5 is not a whole number'],
  [{ maxConnections: '100' }, 'maxConnections: needs a number, not "100"; write 100'],
  [
    { maxConnections: Number.POSITIVE_INFINITY },
    'maxConnections: Infinity is not from 0 to 9999999; write 0 for no limit',
  ],
  [{ maxUnauthenticated: false }, 'maxUnauthenticated: needs a number, not false'],
  [{ maxLoginsPerSecond: -0.5 }, 'maxLoginsPerSecond: -0.5 is not from 0 to 9999999'],
  [{ preparedConnections: 3 }, 'preparedConnections: 3 is not from 0 to 2'],
  // choices and booleans
  [{ tokenInHandshake: 'sometimes' }, 'tokenInHandshake: "sometimes" is not one of auto, always, never'],
  [{ compress: true }, 'compress: needs one of off, auto, zlib, zstd, not true'],
  [{ regionBundle: ['auto'] }, 'regionBundle: needs one of cached, auto, off, not an array'],
  [{ localTls: 'OFF' }, 'localTls: "OFF" is not one of auto, off'],
  [{ requireTls: 'false' }, 'requireTls: needs true or false, not a string'],
  [{ requireWriter: 1 }, 'requireWriter: needs true or false, not a number'],
  [{ trustNetwork: null }, 'trustNetwork: needs true or false, not null'],
  [{ caOnly: 'yes' }, 'caOnly: needs true or false, not a string'],
  [{ caOnly: true }, 'caOnly: needs at least one ca'],
  [{ caOnly: true, ca: [] }, 'caOnly: needs at least one ca'],
  [{ requireTls: true, localTls: 'off' }, 'requireTls: contradicts localTls off'],
  // lists
  [{ allowFrom: '10.0.0.0/8' }, "allowFrom: needs an array such as ['10.0.0.0/8'], not a string"],
  [{ allowFrom: new Set(['10.0.0.0/8']) }, "allowFrom: needs an array such as ['10.0.0.0/8'], not an object"],
  [{ allowFrom: ['10.0.0.0/8', 'office'] }, 'allowFrom[1]: "office" is not a network such as 10.0.0.0/8'],
  [{ allowFrom: [undefined] }, "allowFrom[0]: needs a string such as '10.0.0.0/8', not undefined"],
  // biome-ignore lint/suspicious/noSparseArray: a list may have a hole
  [{ allowFrom: [, '10.0.0.1'] }, "allowFrom[0]: needs a string such as '10.0.0.0/8', not undefined"],
  [{ proxyProtocol: ['unix', 7] }, "proxyProtocol[1]: needs a string such as '10.0.0.0/8', not a number"],
  // certificate authorities
  [{ ca: [root, 'rubbish'] }, 'ca[1]: not a certificate in PEM format'],
  [{ ca: broken }, 'ca: not a certificate in PEM format'],
  [{ ca: [other, `${root}\n${broken}`] }, 'ca[1]: certificate 2 of 2 is invalid'],
  [{ ca: `${root.trimEnd()}${other}` }, 'ca: not a certificate in PEM format'],
  [{ ca: '/etc/ssl/ca.pem' }, 'ca: needs the PEM text, not the name of a file; read it with readFileSync'],
  [
    { ca: Buffer.from([0x30, 0x82, 1, 1]) },
    'ca: is a certificate in DER format; convert it with openssl x509 -inform der',
  ],
  [{ ca: [`-----BEGIN PRIVATE KEY-----\n${SECRET}`] }, 'ca[0]: is a private key, not a certificate'],
  [{ ca: root.replaceAll('\n', '\\n') }, 'ca: has \\n as two characters where lines end'],
  [{ ca: [[root]] }, 'ca[0]: needs PEM text or a buffer with it, not an array'],
  [{ ca: null }, 'ca: needs PEM text or a buffer with it, not null'],
  [{ ca: '' }, 'ca: not a certificate in PEM format'],
  // objects
  [
    { localUsers: { name, password: SECRET } },
    "localUsers: needs an array such as [{ name: 'app', password: '…' }], not an object",
  ],
  [{ localUsers: [SECRET] }, 'localUsers[0]: needs an object with name, password, passwordHash, user, not a string'],
  [
    {
      localUsers: [
        { name, password: SECRET },
        { name: 'b', password: 12345 },
      ],
    },
    "localUsers[1].password: needs a string such as 'a long password', not a number",
  ],
  [{ localUsers: [{ name, password: '' }] }, 'localUsers[0].password: needs a value'],
  [
    { localUsers: [{ name, password: `${SECRET}\n` }] },
    'localUsers[0].password: contains a control character, such as a line end',
  ],
  [{ localUsers: [{ name }] }, 'localUsers[0]: needs a password or a passwordHash'],
  [
    { localUsers: [{ name, password: SECRET, passwordHash: `*${'A'.repeat(40)}` }] },
    'localUsers[0]: needs only one of password and passwordHash',
  ],
  [
    { localUsers: [{ name, passwordHash: SECRET }] },
    'localUsers[0].passwordHash: is neither *… (40 hexadecimal digits) nor $A$005$… (63 characters)',
  ],
  [
    {
      localUsers: [
        { name, password: 'x' },
        { name, password: 'y' },
      ],
    },
    'localUsers[1].name: duplicate local user',
  ],
  [{ localUsers: [{ name: '', password: SECRET }] }, 'localUsers[0].name: needs a value'],
  [{ localUsers: [null] }, 'localUsers[0]: needs an object with name, password, passwordHash, user, not null'],
  [{ tls: true }, 'tls: needs an object with certFile, keyFile, not true'],
  [
    { tls: { certFile: 7, keyFile: '' } },
    "tls.certFile: needs a string such as '/etc/pki/proxy.pem', not a number; tls.keyFile: needs a value",
  ],
  [{ tls: { certFile: 'a' } }, 'tls.keyFile is missing'],
  [
    { rolesAnywhere: 'a' },
    'rolesAnywhere: needs an object with certificateFile, keyFile, keyPassphraseFile, intermediatesFile, trustAnchorArn, profileArn, roleArn, duration, sessionName, endpoint, not a string',
  ],
  [
    { rolesAnywhere: { ...rolesAnywhere, keyFile: undefined } },
    'rolesAnywhere.keyFile is missing; IAM Roles Anywhere needs it',
  ],
  [
    { rolesAnywhere: { ...rolesAnywhere, roleArn: 'db' } },
    'rolesAnywhere.roleArn: "db" is not arn:aws:iam::ACCOUNT:role/NAME',
  ],
  [
    { rolesAnywhere: { ...rolesAnywhere, duration: '1h' } },
    'rolesAnywhere.duration: needs a number of milliseconds, not "1h"; write 3600000',
  ],
  [{ rolesAnywhere, profile: 'a' }, 'profile: contradicts rolesAnywhere.certificateFile; use one of them'],
  [{ credentials: SECRET }, 'credentials: needs AWS credentials or a function that returns them, not a string'],
  [
    { credentials: Promise.resolve(credentials) },
    'credentials: needs AWS credentials or a function that returns them, not a promise; give the function itself, without calling it',
  ],
  [
    { credentials: { ...credentials, secretAccessKey: 5 } },
    'credentials.secretAccessKey: needs a string, not a number',
  ],
  [
    { credentials: { AccessKeyId: 'a', SecretAccessKey: SECRET } },
    'credentials.accessKeyId: needs a string, not undefined; AccessKeyId is the spelling of STS; credentials.secretAccessKey: needs a string, not undefined; SecretAccessKey is the spelling of STS',
  ],
  [
    { credentials: { ...credentials, expiration: '2026-01-01T00:00:00Z' } },
    'credentials.expiration: needs a valid Date, not a string',
  ],
  [{ logger: true }, 'logger: needs an object with the functions error, warn, info, debug, such as console, not true'],
  [{ logger: { ...logger, debug: undefined } }, 'logger.debug: needs a function, not undefined'],
  [{ signal: new AbortController() }, 'signal: is not an AbortSignal; pass the signal of an AbortController'],
  [{ signal: null }, 'signal: is not an AbortSignal; pass the signal of an AbortController'],
  // objects that throw
  [
    Object.defineProperty({}, 'listen', { enumerable: true, get: throwing }),
    'listen: is unreadable: the object that holds it throws an error; rdsEndpoint is missing',
  ],
  [
    { localUsers: [Object.defineProperty({ name }, 'password', { get: throwing })] },
    'localUsers[0].password: is unreadable: the object that holds it throws an error',
  ],
  // several
  [
    { rdsEndpoint: 'db.example.com', loginTimeout: 0, allowFrom: ['a', 'b'], localUser: [] },
    'localUser: unknown option; did you mean localUsers?; allowFrom[0]: "a" is not a network such as 10.0.0.0/8; allowFrom[1]: "b" is not a network such as 10.0.0.0/8; loginTimeout: 0 is not from 1 to 86400000; rdsEndpoint: no AWS region in the name db.example.com:3306; give the endpoint\'s own name, not a CNAME or a load balancer, or set region',
  ],
]

function throwing(): never {
  throw new TypeError(SECRET)
}

/** Beside a valid `rdsEndpoint`, without losing getters and prototypes. */
function beside(given: Record<string, unknown>): object {
  const isPlain =
    Object.getPrototypeOf(given) === Object.prototype && !Object.getOwnPropertyDescriptor(given, 'listen')?.get
  return isPlain ? { rdsEndpoint: RDS, ...given } : given
}

test('an invalid option is refused with its name and what to write', async t => {
  t.ok(BAD.length >= 60, `${BAD.length} options`)
  for (const [given, expected] of BAD) {
    const message = messageFor(t, beside(given))
    t.equal(message, expected)
    t.notMatch(message, new RegExp(SECRET), 'no secret')
    t.notMatch(message, /--[a-z]/, 'no flag')
  }
})

test('many mistakes and long names make no endless message', async t => {
  const message = messageFor(t, { rdsEndpoint: RDS, allowFrom: Array(10_000).fill('a'), ['b'.repeat(1e6)]: 1 }) ?? ''
  t.match(message, new RegExp(`^"${'b'.repeat(40)}…": unknown option; allowFrom\\[0\\]: .*; and 9951 more mistakes$`))
  t.ok(message.length < 5_000, `${message.length} characters`)
})

test('credentials that a class computes are copied', async t => {
  class Keys {
    get accessKeyId(): string {
      return 'AKIAEXAMPLE'
    }
    get secretAccessKey(): string {
      return SECRET
    }
  }
  const expiration = new Date(2 ** 41)
  const checked = checkOptions({
    rdsEndpoint: RDS,
    credentials: Object.assign(new Keys(), { expiration, accountId: '1' }),
  })
  expiration.setTime(0)
  t.same(checked.credentials, { ...credentials, accountId: '1', expiration: new Date(2 ** 41) })
})

test('what is no object is refused', async t => {
  const values = [undefined, null, true, 5, 'a', 5n, Symbol('a'), () => ({}), [{ rdsEndpoint: RDS }]]
  const kinds = ['undefined', 'null', 'true', 'a number', 'a string', 'a bigint', 'a symbol', 'a function', 'an array']
  for (const [index, given] of values.entries()) {
    t.equal(messageFor(t, given), `the options: need an object such as { rdsEndpoint: '…' }, not ${kinds[index]}`)
  }
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  t.match(messageFor(t, proxy), /^the options: are unreadable/)
})

class Settings {
  rdsEndpoint = RDS
  get listen(): string {
    return '127.0.0.1:0'
  }
  save(): void {}
}

const GOOD: Readonly<Record<string, unknown>> = {
  'the one that is required': { rdsEndpoint: RDS },
  'a frozen object': Object.freeze({ rdsEndpoint: RDS }),
  'an object without a prototype': Object.assign(Object.create(null), { rdsEndpoint: RDS }),
  'an instance of a class': new Settings(),
  'an inherited option': Object.create({ rdsEndpoint: RDS }),
  'undefined for each': {
    ...Object.fromEntries(Object.keys(LIBRARY_OPTIONS).map(key => [key, undefined])),
    rdsEndpoint: RDS,
  },
  'undefined for an unknown one': { rdsEndpoint: RDS, localUser: undefined },
  'a symbol as a name': { rdsEndpoint: RDS, [Symbol('mine')]: 1 },
  'a port': { rdsEndpoint: `${RDS}:3307`, connect: 'nlb.internal:3308' },
  'a name as people paste it': { rdsEndpoint: ` mysql://${RDS}/ ` },
  'a CNAME with its region': { rdsEndpoint: 'db.example.com', region: 'eu-west-1' },
  'a unix socket': { rdsEndpoint: RDS, listen: 'unix:/run/db.sock' },
  '-0, where 0 is allowed': { rdsEndpoint: RDS, maxConnections: -0, clientWriteTimeout: -0 },
  'a part of a millisecond': { rdsEndpoint: RDS, connectTimeout: 1.5, busyPoll: 0.05, maxLoginsPerSecond: 0.5 },
  'each limit off': {
    rdsEndpoint: RDS,
    maxConnections: 0,
    maxUnauthenticated: 0,
    maxLoginsPerSecond: 0,
    tcpUserTimeout: 0,
    clientWriteTimeout: 0,
  },
  'the largest values': {
    rdsEndpoint: RDS,
    maxConnections: 9_999_999,
    loginTimeout: 86_400_000,
    tokenReuse: 600_000,
    preparedConnections: 2,
  },
  'each choice': {
    rdsEndpoint: RDS,
    tokenInHandshake: 'never',
    compress: 'zstd',
    localTls: 'off',
    regionBundle: 'auto',
  },
  'no network': { rdsEndpoint: RDS, allowFrom: [] },
  'no user': { rdsEndpoint: RDS, localUsers: [] },
  'no load balancer': { rdsEndpoint: RDS, proxyProtocol: [] },
  'no authority': { rdsEndpoint: RDS, ca: [] },
  'networks and addresses': {
    rdsEndpoint: RDS,
    allowFrom: ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'],
    proxyProtocol: ['unix', '10.0.0.1'],
  },
  'an authority as a string': { rdsEndpoint: RDS, ca: root, caOnly: true },
  'an authority as a Buffer': { rdsEndpoint: RDS, ca: Buffer.from(root) },
  'authorities of both kinds': { rdsEndpoint: RDS, ca: [root, Buffer.from(other), new TextEncoder().encode(root)] },
  'several authorities in one text': { rdsEndpoint: RDS, ca: `# two\n${root}\n${other}` },
  'all public roots': { rdsEndpoint: RDS, ca: rootCertificates },
  'a user with a password': { rdsEndpoint: RDS, localUsers: [{ name, password: 'pässword', user: 'iam' }] },
  'a user with a hash': { rdsEndpoint: RDS, localUsers: [{ name, passwordHash: `*${'A'.repeat(40)}` }] },
  'other machines, with users and TLS': {
    rdsEndpoint: RDS,
    listen: '0.0.0.0:3306',
    localUsers: [{ name, password: 'x' }],
    tls: { certFile: 'a', keyFile: 'b' },
  },
  'other machines, and nobody can log in': {
    rdsEndpoint: RDS,
    listen: '0.0.0.0:3306',
    localUsers: [],
    tls: { certFile: 'a', keyFile: 'b' },
  },
  'other machines in an isolated network': { rdsEndpoint: RDS, listen: '0.0.0.0:3306', trustNetwork: true },
  'IAM Roles Anywhere': { rdsEndpoint: RDS, rolesAnywhere },
  'AWS credentials': {
    rdsEndpoint: RDS,
    credentials: { ...credentials, sessionToken: 'a', expiration: new Date(), accountId: '1' },
  },
  'AWS credentials from JSON': {
    rdsEndpoint: RDS,
    credentials: { ...credentials, sessionToken: '', expiration: null },
  },
  'a provider of credentials': { rdsEndpoint: RDS, credentials: async () => credentials },
  'a signal': { rdsEndpoint: RDS, signal: new AbortController().signal },
  'the console as a logger': { rdsEndpoint: RDS, logger: console },
  'a function with methods as a logger': { rdsEndpoint: RDS, logger: Object.assign(() => {}, logger) },
}

test('valid options are taken', async t => {
  t.ok(Object.keys(GOOD).length >= 30)
  for (const [what, given] of Object.entries(GOOD)) {
    t.equal(messageFor(t, given), undefined, what)
    if (Object.isFrozen(given)) t.same(given, { rdsEndpoint: RDS }, 'unchanged')
  }
})

test('a change of the options after the call has no effect', async t => {
  const bytes = Buffer.from(root)
  const given = {
    rdsEndpoint: RDS,
    name: 'orders',
    allowFrom: ['10.0.0.0/8'],
    ca: [bytes],
    localUsers: [{ name, password: 'x' }],
    tls: { certFile: 'a', keyFile: 'b' },
    credentials: { ...credentials },
  }
  const checked = checkOptions(given)
  const before = structuredClone(checked)
  given.name = 'other'
  given.allowFrom.pop()
  bytes.fill(0)
  given.localUsers[0]!.password = ''
  given.localUsers.pop()
  given.tls.certFile = ''
  given.credentials.accessKeyId = ''
  t.same(checked, before)
  t.same(checked.ca, [root])
})

test('-0 becomes 0, and undefined is the default', async t => {
  const { maxConnections } = checkOptions({ rdsEndpoint: RDS, maxConnections: -0 })
  t.ok(Object.is(maxConnections, 0))
  t.same(checkOptions({ rdsEndpoint: RDS, loginTimeout: undefined }), { rdsEndpoint: RDS })
})

test('what every object of the process inherits is no option', async t => {
  const all = Object.prototype as Record<string, unknown>
  t.teardown(() => {
    delete all['ofAnotherLibrary']
    delete all['user']
  })
  all['ofAnotherLibrary'] = true
  all['user'] = 'root'
  t.same(Object.keys(checkOptions({ rdsEndpoint: RDS })), ['rdsEndpoint'])
})

test('with an empty array nobody gets in; ca is a Buffer, and a later change of the options has no effect', async t => {
  const server = await realServer(t)
  const start = async (more: Partial<ProxyOptions>) => {
    const ca = Buffer.from(server.ca)
    const given = {
      rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
      connect: `${server.host}:${server.port}`,
      listen: '127.0.0.1:0',
      credentials: server.keys.longTerm,
      ca,
      connectTimeout: 3_600_000,
      loginTimeout: 3_600_000,
      ...more,
    }
    const proxy = createProxy(given)
    t.teardown(() => proxy.close())
    Object.assign(given, {
      rdsEndpoint: 'x',
      connect: 'x',
      listen: 'x',
      credentials: 'x',
      allowFrom: undefined,
      localUsers: undefined,
    })
    ca.fill(0)
    const { host, port } = await proxy.listen()
    return (password?: string) =>
      mysql.createConnection({
        host,
        port,
        user: 'iam_user',
        connectTimeout: 3_600_000,
        ...(password ? { password } : {}),
      })
  }
  const connect = await start({})
  const connection = await connect()
  t.same((await connection.query('SELECT 1 AS one'))[0], [{ one: 1 }])
  await connection.end()
  await t.rejects((await start({ allowFrom: [] }))(), { code: 'ER_HOST_NOT_PRIVILEGED' })
  const asNobody = await start({ localUsers: [] })
  await t.rejects(asNobody(), { code: 'ER_ACCESS_DENIED_ERROR' })
  await t.rejects(asNobody('a password'), { code: 'ER_ACCESS_DENIED_ERROR' })
})

test('one broken certificate among several is found', async t => {
  const { certificate } = await authorityOf('one of three')
  const three = `${certificate}${certificate.replace(/^MII/m, 'AAA')}${certificate}`
  t.equal(messageFor(t, { rdsEndpoint: RDS, ca: three }), 'ca: certificate 2 of 3 is invalid')
  t.equal(messageFor(t, { rdsEndpoint: RDS, ca: certificate.repeat(3) }), undefined)
})

/** Any value, of a depth of three at most. */
function junk(random: Random, depth = 0): unknown {
  const simple = [
    undefined,
    null,
    true,
    false,
    0,
    -0,
    1,
    -1,
    0.5,
    1e9,
    Number.NaN,
    Number.NEGATIVE_INFINITY,
    2n ** 80n,
    5n,
  ]
  const texts = [
    '',
    'a',
    '5s',
    '\0',
    '\ud800',
    '127.0.0.1:0',
    '10.0.0.0/8',
    'auto',
    'off',
    RDS,
    root,
    broken,
    '__proto__',
    '{localPort}',
    '"',
    'unix:/a',
  ]
  const odd = [
    Symbol('a'),
    Symbol.iterator,
    () => 1,
    class {},
    new Date(Number.NaN),
    /a/,
    new Map(),
    new Proxy({}, { get: throwing }),
    new Proxy([], { get: throwing }),
    Promise.resolve(),
    new Uint8Array(3),
    Object(5n),
    Object.create(null),
    new WeakRef({}),
  ]
  switch (random.below(depth < 3 ? 7 : 4)) {
    case 0:
      return random.pick(simple)
    case 1:
    case 2:
      return random.pick(texts)
    case 3:
      return random.pick(odd)
    case 4:
      return Array.from({ length: random.below(4) }, () => junk(random, depth + 1))
    default: {
      const names = [
        'name',
        'password',
        'passwordHash',
        'certFile',
        'keyFile',
        'accessKeyId',
        'secretAccessKey',
        'expiration',
        'error',
        'warn',
        'then',
        'duration',
        'toString',
        'length',
        '0',
      ]
      return Object.fromEntries(
        Array.from({ length: random.below(5) }, () => [random.pick(names), junk(random, depth + 1)]),
      )
    }
  }
}

test('whatever the options are, createProxy throws CONFIG_INVALID or returns a proxy that closes', async t => {
  const random = createRandom(22)
  const names = [...Object.keys(LIBRARY_OPTIONS), 'localUser', 'constructor', '__proto__']
  let [taken, refused] = [0, 0]
  for (let run = 0; run < 5_000; run++) {
    const given: Record<string, unknown> = random.below(4) === 0 ? {} : { rdsEndpoint: RDS }
    const count = random.below(4)
    for (let i = 0; i < count; i++) given[random.pick(names)] = junk(random)
    try {
      const proxy = createProxy(given as unknown as ProxyOptions)
      taken++
      if (typeof proxy.status().name !== 'string') t.fail('no status')
      if (run % 10 === 0) await proxy.close()
    } catch (error) {
      refused++
      const isExpected = error instanceof ProxyError && error.code === 'CONFIG_INVALID' && error.message !== ''
      if (!isExpected) t.fail(`run ${run}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }
  t.ok(taken > 500 && refused > 500, `${taken} taken, ${refused} refused`)
})

test('an option without a check does not compile', async t => {
  const table = new URL('../src/proxy/option-table.ts', import.meta.url).pathname
  const code = (rest: string) => `
    import { type CheckedOptions, LIBRARY_OPTIONS } from '${table}'
    import type { Parts } from '${table.replace('table', 'readers')}'
    ${rest}`
  const errors = await compilerErrors({
    'new.ts': code('export const table: Parts<CheckedOptions & { newOption?: string }> = LIBRARY_OPTIONS'),
    'wrong.ts': code(
      'export const table: Parts<CheckedOptions> = { ...LIBRARY_OPTIONS, name: LIBRARY_OPTIONS.caOnly }',
    ),
    'good.ts': code('export const table: Parts<CheckedOptions> = LIBRARY_OPTIONS'),
  })
  t.match(
    errors.filter(line => /^\w/.test(line)),
    [/^new\.ts.*newOption/, /^wrong\.ts/],
  )
  t.equal(errors.filter(line => line.startsWith('good.ts')).length, 0)
})

test('docs/library.md has the table of all options (npm run docs)', async t => {
  const page = await readFile(new URL('../docs/library.md', import.meta.url), 'utf8')
  t.equal(page, withLibraryOptions(page))
  for (const option of Object.keys(LIBRARY_OPTIONS)) t.match(libraryOptions(), `| \`${option}\` |`)
  t.throws(() => withLibraryOptions('a page without the marks'), /begin/)
})
