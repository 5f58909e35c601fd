/** Every option, once. From this table come flags, environment variables, file keys, --help, the JSON schema and docs/reference.md. */
import { formatDuration } from '../duration.ts'
import { listenProblem, remoteProblem } from '../endpoint.ts'
import { databaseProxyProblem } from '../forward-proxy.ts'
import { OPTION_VALUES } from '../option-values.ts'
import {
  addressProblem,
  hostAndPortProblem,
  httpsProblem,
  networkProblem,
  proxyProtocolProblem,
  regionNameProblem,
  resolverProblem,
  roleProblem,
  rolesAnywhereProfileProblem,
  sessionNameProblem,
  targetGroupProblem,
  trustAnchorProblem,
  type ValueCheck,
} from '../value-checks.ts'

/** The commands of the command line; `run` is a line without a command. */
export type Command = 'run' | 'demo' | 'check' | 'sync-targets' | 'exec' | 'wait' | 'config' | 'trust'

/** The commands that work with a served database. */
const SERVING: readonly Command[] = ['run', 'demo', 'check', 'exec', 'config']
const AND_SYNC: readonly Command[] = [...SERVING, 'sync-targets']
const SYNC: readonly Command[] = ['sync-targets']

export interface OptionSpec {
  kind: 'string' | 'strings' | 'boolean' | 'duration' | 'integer'
  /** Stands for the value in --help and in the reference */
  placeholder?: string
  /** As a person writes it */
  default?: string
  choices?: readonly string[]
  /** Of a duration, in milliseconds; of an integer */
  min?: number
  max?: number
  /** Says what is wrong with one value; of a 'string' or each of 'strings' */
  check?: ValueCheck
  /** One value for the whole process, not one for each endpoint */
  perProcess?: boolean
  /** Between several values in one environment variable; default: ':' as in PATH */
  separator?: string
  /** Without a flag, because other users can see a command line */
  environmentOnly?: boolean
  /** The commands that take it; default: all that work with a served database */
  commands?: readonly Command[]
  describe: string
}

interface NumberValues {
  readonly default: number
  readonly min: number
  readonly max: number
}

function duration(values: NumberValues) {
  return { ...values, kind: 'duration', placeholder: 'DURATION', default: formatDuration(values.default) } as const
}

function integer(values: NumberValues) {
  return { ...values, kind: 'integer', placeholder: 'N', default: String(values.default) } as const
}

const HOUR_MS = 3_600_000

export const OPTIONS = {
  'rds-endpoint': {
    kind: 'string',
    commands: [...AND_SYNC, 'trust'],
    placeholder: 'HOST[:PORT]',
    check: remoteProblem,
    describe:
      'The endpoint of RDS for MySQL, RDS for MariaDB, Aurora MySQL or RDS Proxy: the name on the certificate and the name that tokens are signed for. Use the original name, not a CNAME or a load balancer',
  },
  connect: {
    kind: 'string',
    placeholder: 'HOST[:PORT]',
    check: remoteProblem,
    describe:
      'The address to dial, for example a Network Load Balancer in front of the database (default: --rds-endpoint)',
  },
  proxy: {
    kind: 'string',
    placeholder: 'URL',
    check: databaseProxyProblem,
    describe:
      'The forward proxy on the way to the database: socks5:// or http://[USER:PASSWORD@]HOST:PORT. It resolves the name of the address to dial. Other users can see a command line, so set a password with the environment variable (default: none)',
  },
  listen: {
    kind: 'string',
    placeholder: 'HOST:PORT|unix:/PATH|systemd[:NAME]',
    commands: [...SERVING, 'wait'],
    default: OPTION_VALUES.listen.default,
    check: listenProblem,
    describe:
      'The address that clients connect to. Port 0 takes a free port. A unix socket is only for the user who runs the proxy (mode 0600). systemd takes the socket of a socket unit. An address that other machines can reach needs --local-user and --tls-cert, or --trust-network',
  },
  user: {
    kind: 'string',
    placeholder: 'NAME',
    describe: 'The database user to log in as (default: the user that the client names)',
  },
  region: {
    kind: 'string',
    commands: [...SERVING, 'trust'],
    placeholder: 'NAME',
    check: regionNameProblem,
    describe:
      'The AWS region of the database (default: read from the name of --rds-endpoint; for the writer endpoint of an Aurora Global Database, at each login from the certificate of the server)',
  },
  profile: {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'NAME',
    describe:
      'The profile in ~/.aws/config whose credentials sign tokens (default: the credential chain of the AWS SDK)',
  },
  'roles-anywhere-certificate': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'The certificate (PEM) of this host for IAM Roles Anywhere, instead of --profile. The files are read again for each request, so a rotated certificate needs no restart',
  },
  'roles-anywhere-key': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe: 'The private key of --roles-anywhere-certificate (PEM, RSA or EC)',
  },
  'roles-anywhere-key-passphrase-file': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe: 'A file whose one line decrypts --roles-anywhere-key (default: the key is not encrypted)',
  },
  'roles-anywhere-intermediates': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'The certificates (PEM) between --roles-anywhere-certificate and the trust anchor, if they are not in the same file',
  },
  'roles-anywhere-trust-anchor': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: trustAnchorProblem,
    describe: 'The trust anchor in IAM Roles Anywhere that stands for the issuer of the certificate',
  },
  'roles-anywhere-profile': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: rolesAnywhereProfileProblem,
    describe: 'The profile in IAM Roles Anywhere that allows the role; in the region of the trust anchor',
  },
  'roles-anywhere-role': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: roleProblem,
    describe: 'The IAM role to get credentials for',
  },
  'roles-anywhere-duration': {
    ...duration(OPTION_VALUES.rolesAnywhereDuration),
    commands: AND_SYNC,
    describe:
      'How long the credentials of IAM Roles Anywhere are valid. The lower limit of its profile counts, and more than 1h needs a role that allows it',
  },
  'roles-anywhere-session-name': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'NAME',
    check: sessionNameProblem,
    describe:
      'The name of the role session. AWS refuses it unless the profile accepts session names (default: the serial number of the certificate)',
  },
  'roles-anywhere-endpoint': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'URL',
    check: httpsProblem,
    describe:
      'The HTTPS address of IAM Roles Anywhere, for example of a VPC endpoint or the FIPS endpoint (default: that of the trust anchor)',
  },
  ca: {
    kind: 'strings',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'A PEM file of certificate authorities to trust in addition to the RDS bundle and the public roots; may be repeated',
  },
  'ca-only': { kind: 'boolean', commands: AND_SYNC, describe: 'Trust only the authorities of --ca' },
  'region-bundle': {
    kind: 'string',
    commands: AND_SYNC,
    ...OPTION_VALUES.regionBundle,
    describe:
      "Which CA certificates of RDS to trust beside the built-in ones. cached: those that mysql-iam-proxy trust update has downloaded for the database's region. auto: the proxy also downloads them itself, in the background, if the server's CA is unknown. off: none",
  },
  'bundle-cache': {
    kind: 'string',
    commands: [...AND_SYNC, 'trust'],
    placeholder: 'FOLDER',
    describe:
      'The folder of the downloaded CA certificates. Other users must not be able to write to it (default: $XDG_CACHE_HOME/mysql-iam-proxy, or ~/.cache/mysql-iam-proxy)',
  },
  'token-in-handshake': {
    kind: 'string',
    ...OPTION_VALUES.tokenInHandshake,
    describe:
      'Whether to send the token inside HandshakeResponse41, which saves a round trip, or after an AuthSwitchRequest. auto finds out which one the server needs',
  },
  'token-reuse': {
    ...duration(OPTION_VALUES.tokenReuse),
    describe:
      'How long the logins of a database user share one token, at most 10m. After a refused login, the next one gets a new token. 0s signs a new token for each login',
  },
  'require-writer': {
    kind: 'boolean',
    describe:
      'After each login, ask the server if it takes writes (innodb_read_only, read_only), and refuse a read-only server, such as a demoted writer behind a stale NLB target',
  },
  'local-user': {
    kind: 'string',
    placeholder: 'NAME',
    describe:
      'The one user that clients log in as here, with a separate password that is checked before a token is signed. The database user is --user, or else the same name. For several users, use local-users in the configuration file',
  },
  'local-password-file': {
    kind: 'string',
    placeholder: 'FILE',
    describe:
      "A file whose one line is the password of --local-user, or its hash as MySQL stores it ('*…', '$A$005$…')",
  },
  'local-password': {
    kind: 'string',
    environmentOnly: true,
    describe: 'Use this instead of --local-password-file',
  },
  'tls-cert': {
    kind: 'string',
    placeholder: 'FILE',
    describe:
      'The certificate (PEM, with its chain) for TLS to clients. The proxy reads it and --tls-key again when they change',
  },
  'tls-key': { kind: 'string', placeholder: 'FILE', describe: 'The private key of --tls-cert (PEM)' },
  'local-tls': {
    kind: 'string',
    ...OPTION_VALUES.localTls,
    describe:
      'Whether to offer TLS to clients without --tls-cert. auto offers it with a self-signed certificate, which the proxy makes itself and keeps in memory. It encrypts, but clients cannot verify it',
  },
  'require-tls': {
    kind: 'boolean',
    describe:
      'Refuse clients without TLS. Always on for an address that other machines can reach, unless --trust-network is set',
  },
  'allow-from': {
    kind: 'strings',
    placeholder: 'CIDR',
    separator: ',',
    check: networkProblem,
    describe: 'A network that clients may come from, for example 10.0.0.0/8; may be repeated (default: any)',
  },
  'proxy-protocol': {
    kind: 'strings',
    placeholder: 'CIDR|unix',
    separator: ',',
    check: proxyProtocolProblem,
    describe:
      'A network of load balancers that send the PROXY protocol, version 1 or 2, for example an NLB or HAProxy; may be repeated. Connections from there must begin with its header, and --allow-from applies to the client that it names. unix: those to a unix socket (default: none)',
  },
  'trust-network': {
    kind: 'boolean',
    describe:
      "Allow a non-loopback listener without local users or TLS. Use it only on isolated networks, such as a pod's: anyone who can reach the port can use the database",
  },
  'max-connections': {
    ...integer(OPTION_VALUES.maxConnections),
    describe: 'Open client connections; the proxy refuses more (ERR 1040). 0 for no limit',
  },
  'max-unauthenticated': {
    ...integer(OPTION_VALUES.maxUnauthenticated),
    describe:
      'Server connections of clients that have not logged in yet. Other clients wait for a place, up to --login-timeout, or longer while the database resumes. One client address gets three quarters of them at most. 0 for no limit',
  },
  'max-logins-per-second': {
    ...integer(OPTION_VALUES.maxLoginsPerSecond),
    describe:
      'Logins to the database per second. More logins wait, and fail if their turn would come too late. AWS advises fewer than 200. While every login fails for the same reason, the proxy tries only one every 1 to 10 seconds. 0 for no limit and no such pause',
  },
  'connect-timeout': {
    ...duration(OPTION_VALUES.connectTimeout),
    describe: 'Time for the TCP connection to the database',
  },
  'greeting-timeout': {
    ...duration(OPTION_VALUES.greetingTimeout),
    describe:
      'Time from the TCP connection to the greeting of the database. A paused Aurora Serverless database sends it after 15 s or more, when it has resumed. The wait ends when the client disconnects',
  },
  'login-timeout': {
    ...duration(OPTION_VALUES.loginTimeout),
    describe:
      "Time for the login, from the greeting of the database. Keep it below the server's connect_timeout, 10 s by default",
  },
  keepalive: {
    ...duration(OPTION_VALUES.keepalive),
    describe:
      'Idle time before TCP keepalive probes begin, on both legs. It must be below the idle timeout of an NLB, 350 s by default',
  },
  'tcp-user-timeout': {
    ...duration(OPTION_VALUES.tcpUserTimeout),
    describe:
      "Time that sent bytes may stay unacknowledged before the session ends, on both legs. A slow query on a working path never counts. Only on Linux; elsewhere, and with 0s, the kernel's own limit applies, up to 16 minutes",
  },
  'client-write-timeout': {
    ...duration(OPTION_VALUES.clientWriteTimeout),
    describe:
      "Time in which a client must take some of the bytes that wait for it, or its session ends. Keep it above the server's net_write_timeout, 60 s by default. 0s turns it off",
  },
  config: {
    kind: 'string',
    placeholder: 'FILE',
    perProcess: true,
    commands: ['run', 'check', 'exec', 'config'],
    describe:
      'A YAML or JSON file with options, for several endpoints if you like; flags and environment variables override it. SIGHUP reads it again. See docs/configuration.md',
  },
  'max-sigterm-delay': {
    ...duration({ default: 10_000, min: 0, max: 24 * HOUR_MS }),
    perProcess: true,
    commands: ['run', 'exec', 'config'],
    describe:
      'After SIGTERM or SIGINT, the time for sessions to finish their transactions. Sessions outside a transaction end at once (ERR 1053), the others at the end of that time. A second signal ends the process at once',
  },
  'admin-listen': {
    kind: 'string',
    placeholder: 'HOST:PORT',
    perProcess: true,
    commands: ['run', 'wait', 'sync-targets', 'config'],
    check: hostAndPortProblem,
    describe:
      'The address of the status page, /startup, /readiness, /liveness and /metrics (default: none). Beyond loopback, it needs --admin-token-file',
  },
  'health-listen': {
    kind: 'string',
    placeholder: 'HOST:PORT',
    perProcess: true,
    commands: ['run', 'wait', 'sync-targets', 'config'],
    check: hostAndPortProblem,
    describe:
      'An address that serves only /startup, /readiness, /liveness and /metrics (default: none). It needs no secret, also beyond loopback; for probes and Prometheus',
  },
  'ready-when': {
    kind: 'string',
    placeholder: 'any|all',
    perProcess: true,
    choices: ['any', 'all'],
    default: 'any',
    commands: ['run', 'config'],
    describe:
      'When /readiness of a proxy with several endpoints says ready. any: at least one endpoint is ready. all: each endpoint is ready. /readiness?endpoint=NAME is about one endpoint',
  },
  'admin-token-file': {
    kind: 'string',
    placeholder: 'FILE',
    perProcess: true,
    commands: ['run', 'sync-targets', 'config'],
    describe:
      "A file whose one line is the status page's secret, at least 16 characters. Health and metrics don't require it",
  },
  quitquitquit: {
    kind: 'boolean',
    perProcess: true,
    commands: ['run', 'config'],
    describe: 'Let POST /quitquitquit on the admin listener stop the proxy, as SIGTERM does; for Kubernetes Jobs',
  },
  until: {
    kind: 'string',
    placeholder: 'ready|started',
    perProcess: true,
    choices: ['ready', 'started'],
    default: 'ready',
    commands: ['wait'],
    describe:
      'What to wait for, with --admin-listen or --health-listen. ready: the proxy can take clients (/readiness). started: every endpoint listens (/startup)',
  },
  max: {
    ...duration({ default: 30_000, min: 1, max: 24 * HOUR_MS }),
    perProcess: true,
    commands: ['wait'],
    describe: 'How long to wait',
  },
  'exit-zero-on-sigterm': {
    kind: 'boolean',
    perProcess: true,
    commands: ['run', 'config'],
    describe: 'Exit with code 0 after SIGTERM, not with 143',
  },
  'busy-poll': {
    ...duration(OPTION_VALUES.busyPoll),
    perProcess: true,
    describe:
      'How long to poll for more input before the event loop blocks, at most 1 ms. Saves a quarter of the time of single small queries; costs processor time. No effect with one processor or a CPU quota below two. 0s turns it off',
  },
  'target-group-arn': {
    kind: 'string',
    commands: SYNC,
    placeholder: 'ARN',
    check: targetGroupProblem,
    describe:
      'The target group, of type ip, that follows --rds-endpoint. All its targets on that port are managed, except those of --keep-target',
  },
  resolver: {
    kind: 'strings',
    commands: SYNC,
    placeholder: 'ADDRESS[:PORT]',
    separator: ',',
    check: resolverProblem,
    describe:
      'A name server to ask instead of those of this machine; may be repeated, and then all servers must give the same answer',
  },
  'collect-answers': {
    kind: 'string',
    ...OPTION_VALUES.collectAnswers,
    commands: SYNC,
    describe:
      'Collect addresses over many DNS lookups, for endpoints that return one instance per answer. auto does so for reader, custom and RDS Proxy endpoints',
  },
  confirmations: {
    ...integer(OPTION_VALUES.confirmations),
    commands: SYNC,
    describe:
      'Lookups in a row that must agree before a target is removed, 5 s or the time to live apart. Names flap for 20 to 30 s in a failover',
  },
  'keep-target': {
    kind: 'strings',
    commands: SYNC,
    placeholder: 'ADDRESS',
    separator: ',',
    check: addressProblem,
    describe: 'The address of a target that is never removed; may be repeated',
  },
  verify: {
    kind: 'boolean',
    commands: SYNC,
    describe:
      'Register a new address only after it has presented the certificate of --rds-endpoint; needs a network path from here to the database',
  },
  'health-timeout': {
    ...duration(OPTION_VALUES.healthTimeout),
    commands: SYNC,
    describe: 'Time for new targets to become healthy; the old targets stay until then',
  },
  'dry-run': { kind: 'boolean', commands: SYNC, describe: 'Do one lookup and print what would change' },
  watch: { kind: 'boolean', commands: SYNC, describe: 'Run until stopped, with one pass every --interval' },
  interval: {
    ...duration(OPTION_VALUES.interval),
    commands: SYNC,
    describe: 'Time between two passes of --watch, plus or minus 10 %',
  },
  'log-level': {
    kind: 'string',
    perProcess: true,
    choices: ['error', 'warn', 'info', 'debug'],
    default: 'info',
    describe: 'How much to log',
  },
  'log-format': {
    kind: 'string',
    perProcess: true,
    choices: ['auto', 'pretty', 'json'],
    default: 'auto',
    describe: 'pretty for people, or one JSON object per line. auto: pretty on a terminal, json otherwise',
  },
  'syntax-only': {
    kind: 'boolean',
    perProcess: true,
    commands: ['config'],
    describe:
      'Check only the configuration itself, not the files and addresses that it names. For a configuration whose credentials exist only while the service runs',
  },
  database: {
    kind: 'string',
    placeholder: 'NAME',
    commands: ['check'],
    describe: 'The default database of the login (default: none)',
  },
  aws: {
    kind: 'boolean',
    commands: ['check'],
    describe: 'Also check the database in RDS and the load balancer, as far as the credentials allow',
  },
  report: {
    kind: 'string',
    placeholder: 'FILE',
    commands: ['check'],
    describe:
      'Also write a Markdown report for an issue, without names, addresses, accounts, keys and users. check prints it and asks on a terminal first. It needs one login more',
  },
  yes: { kind: 'boolean', commands: ['check'], describe: 'Write the file of --report without asking' },
  endpoint: {
    kind: 'string',
    placeholder: 'NAME',
    commands: ['check', 'wait'],
    describe: 'The endpoint to check or to wait for, if the proxy has several',
  },
  json: {
    kind: 'boolean',
    commands: ['check', 'sync-targets'],
    describe: 'Print the result as one JSON document, for scripts; with --watch, one line for each pass',
  },
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS

export const optionNames = Object.keys(OPTIONS) as OptionName[]

export function isOption(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name)
}

/** The options with a flag that `command` takes, in the table's order. */
export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter(name => {
    const { commands, environmentOnly } = optionSpec(name)
    return !environmentOnly && (commands ?? SERVING).includes(command)
  })
}

/** A row of the table as an OptionSpec, for code that handles all of them. */
export const optionSpec = (name: OptionName): OptionSpec => OPTIONS[name]

/** The start of the names of all our environment variables. */
export const ENVIRONMENT_PREFIX = 'MYSQL_IAM_PROXY_'

/** The environment variable of an option: MYSQL_IAM_PROXY_RDS_ENDPOINT for rds-endpoint. */
export function environmentName(option: string): string {
  return ENVIRONMENT_PREFIX + option.toUpperCase().replaceAll('-', '_')
}
