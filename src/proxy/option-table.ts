/**
 * Every option of the library, once, with its check. A new option of ProxyOptions is a row here, or the project does not compile.
 * docs/library.md has the table that is made from this one and from the comments of ProxyOptions.
 */
import { types } from 'node:util'
import type { Credentials, CredentialsProvider } from '../aws/credentials.ts'
import { isAbsent } from '../aws/host-credentials.ts'
import {
  ROLES_ANYWHERE_NEEDS,
  ROLES_ANYWHERE_REQUIRED,
  type RolesAnywhereOptions,
} from '../aws/roles-anywhere-options.ts'
import type { LocalUserOptions } from '../client/local-user-options.ts'
import { isPasswordHash } from '../client/local-users.ts'
import { listenProblem, remoteProblem } from '../endpoint.ts'
import { databaseProxyProblem } from '../forward-proxy.ts'
import { LOG_LEVELS, type Logger } from '../log.ts'
import { OPTION_VALUES } from '../option-values.ts'
import { ssmTargetProblem } from '../ssm-target.ts'
import { tunnelCommandProblem } from '../tunnel-command.ts'
import { certificatesProblem } from '../upstream/pem.ts'
import {
  databaseUserProblem,
  httpsProblem,
  networkProblem,
  proxyProtocolProblem,
  regionNameProblem,
  roleProblem,
  rolesAnywhereProfileProblem,
  sessionNameProblem,
  trustAnchorProblem,
} from '../value-checks.ts'
import {
  choice,
  count,
  flag,
  isObject,
  kindOf,
  list,
  milliseconds,
  object,
  type Parts,
  type Place,
  type Reader,
  rate,
  text,
} from './option-readers.ts'
import type { ProxyOptions } from './options.ts'

/** Options that are checked and copied. */
export interface CheckedOptions extends ProxyOptions {
  ca?: readonly string[] | undefined
}

const USER: Reader<LocalUserOptions> = object<LocalUserOptions>(
  {
    name: text("'reporting'", databaseUserProblem),
    password: text("'a long password'", passwordProblem),
    passwordHash: text("'$A$005$…'", hash =>
      isPasswordHash(hash) ? undefined : 'is neither *… (40 hexadecimal digits) nor $A$005$… (63 characters)',
    ),
    user: text("'iam_readonly'", databaseUserProblem),
  },
  ['name'],
  {
    whatElse({ password, passwordHash }) {
      if (password !== undefined && passwordHash !== undefined) return 'needs only one of password and passwordHash'
      return password === undefined && passwordHash === undefined ? 'needs a password or a passwordHash' : undefined
    },
  },
)

/** As of files with passwords: such a password was hardly meant. */
function passwordProblem(password: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what it looks for
  return /[\x00-\x1f\x7f]/.test(password) ? 'contains a control character, such as a line end' : undefined
}

const USERS_EXAMPLE = "[{ name: 'app', password: '…' }]"

const LOCAL_USERS: Reader<readonly LocalUserOptions[]> = {
  ...list(USER, USERS_EXAMPLE),
  read(given, at) {
    const names = new Set<string>()
    const unique = (one: unknown, place: Place) => {
      const user = USER.read(one, place)
      if (user === undefined) return undefined
      if (names.has(user.name)) return void place.key('name').report('duplicate local user')
      names.add(user.name)
      return user
    }
    return list({ ...USER, read: unique }, USERS_EXAMPLE).read(given, at)
  },
}

/** As the option `ca` of Node.js's tls module. */
const CA: Reader<readonly string[]> = {
  type: 'string, Buffer, or array of these',
  read(given, at) {
    return list(CERTIFICATES, '[readFileSync(file)]').read(
      Array.isArray(given) ? given : [given],
      Array.isArray(given) ? at : { ...at, item: () => at },
    )
  },
}

const CERTIFICATES: Reader<string> = {
  type: 'string or Buffer',
  read(given, at) {
    const bytes = ArrayBuffer.isView(given) ? Buffer.from(given.buffer, given.byteOffset, given.byteLength) : undefined
    const pem = bytes?.toString() ?? given
    if (typeof pem !== 'string') return void at.report(`needs PEM text or a buffer with it, not ${kindOf(given)}`)
    const problem = certificatesProblem(pem)
    return problem === undefined ? pem : void at.report(explainPem(problem, pem, bytes))
  },
}

/** The problem, or a more probable one. */
function explainPem(problem: string, pem: string, bytes: Buffer | undefined): string {
  const ASN1_SEQUENCE = 0x30
  if (bytes?.[0] === ASN1_SEQUENCE) return 'is a certificate in DER format; convert it with openssl x509 -inform der'
  if (pem.includes('-----\\n')) return 'has \\n as two characters where lines end'
  const isName = bytes === undefined && /^[^\n]*([/\\]|\.(pem|crt|cer)$)/.test(pem) && !/\n|-----/.test(pem)
  return isName ? 'needs the PEM text, not the name of a file; read it with readFileSync' : problem
}

const ROLES_ANYWHERE = object<RolesAnywhereOptions>(
  {
    certificateFile: text("'/etc/pki/host.pem'"),
    keyFile: text("'/etc/pki/host.key'"),
    keyPassphraseFile: text("'/etc/pki/passphrase'"),
    intermediatesFile: text("'/etc/pki/intermediates.pem'"),
    trustAnchorArn: text("'arn:aws:rolesanywhere:…'", trustAnchorProblem),
    profileArn: text("'arn:aws:rolesanywhere:…'", rolesAnywhereProfileProblem),
    roleArn: text("'arn:aws:iam::…'", roleProblem),
    duration: milliseconds(OPTION_VALUES.rolesAnywhereDuration),
    sessionName: text("'host-1'", sessionNameProblem),
    endpoint: text("'https://rolesanywhere.eu-west-1.amazonaws.com'", httpsProblem),
  },
  ROLES_ANYWHERE_REQUIRED,
  { why: ROLES_ANYWHERE_NEEDS },
)

const CREDENTIALS: Reader<Credentials | CredentialsProvider> = {
  type: 'object or function',
  read(given, at) {
    if (typeof given === 'function') return given as CredentialsProvider
    if (!isObject(given) || 'then' in given) {
      const instead = isObject(given) ? '; give the function itself, without calling it' : ''
      return void at.report(`needs AWS credentials or a function that returns them, not ${kindOf(given)}${instead}`)
    }
    return readCredentials(given, at)
  },
}

/** Other properties are allowed: the providers of the AWS SDK add some. */
function readCredentials(given: object, at: Place): Credentials | undefined {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given as Record<string, unknown>
  const texts = { accessKeyId, secretAccessKey, ...(isAbsent(sessionToken) ? {} : { sessionToken }) }
  let isValid = true
  const report = (name: string, problem: string) => {
    isValid = false
    const ofSts = name[0]!.toUpperCase() + name.slice(1)
    at.key(name).report(ofSts in given ? `${problem}; ${ofSts} is the spelling of STS` : problem)
  }
  for (const [name, value] of Object.entries(texts)) {
    if (typeof value !== 'string') report(name, `needs a string, not ${kindOf(value)}`)
    else if (value === '') report(name, 'needs a value')
  }
  const isDate = isAbsent(expiration) || (types.isDate(expiration) && !Number.isNaN(expiration.getTime()))
  if (!isDate) report('expiration', `needs a valid Date, not ${kindOf(expiration)}`)
  if (!isValid) return undefined
  const { sessionToken: _absent, expiration: _replaced, ...others } = given as Record<string, unknown>
  const copied = isAbsent(expiration) ? {} : { expiration: new Date(expiration as Date) }
  return { ...others, ...(texts as Pick<Credentials, 'accessKeyId' | 'secretAccessKey'>), ...copied }
}

const LOGGER: Reader<Logger> = {
  type: 'object',
  read(given, at) {
    const example = `needs an object with the functions ${LOG_LEVELS.join(', ')}, such as console`
    const isLogger = isObject(given) || typeof given === 'function'
    if (!isLogger) return void at.report(`${example}, not ${kindOf(given)}`)
    const missing = LOG_LEVELS.filter(level => typeof (given as unknown as Logger)[level] !== 'function')
    for (const level of missing)
      at.key(level).report(`needs a function, not ${kindOf((given as unknown as Logger)[level])}`)
    // Not a copy: its functions may need it.
    return missing.length === 0 ? (given as unknown as Logger) : undefined
  },
}

/** One of another realm or of a polyfill will do. */
const SIGNAL: Reader<AbortSignal> = {
  type: 'AbortSignal',
  read(given, at) {
    const { aborted, addEventListener } = Object(given) as Partial<AbortSignal>
    if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return given as AbortSignal
    return void at.report('is not an AbortSignal; pass the signal of an AbortController')
  },
}

/** Of the longest IPv6 network, with a zone. */
const MAX_NETWORK = 100

const V = OPTION_VALUES

export const LIBRARY_OPTIONS: Parts<CheckedOptions> = {
  rdsEndpoint: text("'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'", remoteProblem),
  connect: text("'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com'", remoteProblem),
  proxy: text("'socks5://proxy.internal:1080'", databaseProxyProblem),
  tunnel: text("'ssh -N -L {localPort}:{host}:{port} bastion'", tunnelCommandProblem),
  ssmTarget: text("'i-0123456789abcdef0'", ssmTargetProblem),
  tunnelTimeout: milliseconds(V.tunnelTimeout),
  tunnelIdleTimeout: milliseconds(V.tunnelIdleTimeout, 'a tunnel that stays open'),
  listen: text("'127.0.0.1:3306'", listenProblem),
  name: text("'orders'"),
  user: text("'iam_readonly'", databaseUserProblem),
  region: text("'eu-west-1'", regionNameProblem, 100),
  profile: text("'production'"),
  rolesAnywhere: ROLES_ANYWHERE,
  credentials: CREDENTIALS,
  tokenReuse: milliseconds(V.tokenReuse),
  tokenInHandshake: choice(V.tokenInHandshake),
  requireWriter: flag,
  compress: choice(V.compress),
  ca: CA,
  caOnly: flag,
  regionBundle: choice(V.regionBundle),
  bundleCache: text("'/var/cache/mysql-iam-proxy'"),
  localUsers: LOCAL_USERS,
  tls: object({ certFile: text("'/etc/pki/proxy.pem'"), keyFile: text("'/etc/pki/proxy.key'") }, [
    'certFile',
    'keyFile',
  ]),
  localTls: choice(V.localTls),
  requireTls: flag,
  allowFrom: list(text("'10.0.0.0/8'", networkProblem, MAX_NETWORK), "['10.0.0.0/8']"),
  proxyProtocol: list(text("'10.0.0.0/8'", proxyProtocolProblem, MAX_NETWORK), "['10.0.0.0/8']"),
  trustNetwork: flag,
  maxConnections: count(V.maxConnections, 'no limit'),
  maxUnauthenticated: count(V.maxUnauthenticated, 'no limit'),
  preparedConnections: count(V.preparedConnections),
  maxLoginsPerSecond: rate(V.maxLoginsPerSecond, 'no limit'),
  connectTimeout: milliseconds(V.connectTimeout),
  greetingTimeout: milliseconds(V.greetingTimeout),
  loginTimeout: milliseconds(V.loginTimeout),
  keepalive: milliseconds(V.keepalive),
  tcpUserTimeout: milliseconds(V.tcpUserTimeout, "the kernel's own limit"),
  clientWriteTimeout: milliseconds(V.clientWriteTimeout, 'no limit'),
  busyPoll: milliseconds(V.busyPoll),
  signal: SIGNAL,
  logger: LOGGER,
}
