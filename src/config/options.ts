/** Every option, once: flags, environment variables, --help and docs/reference.md are made from this table. */

/** The commands of the command line; `run` is what a line without a command does. */
export type Command = 'run' | 'demo' | 'check' | 'sync-targets' | 'exec' | 'wait' | 'config'

/** The commands that work on a database as it is served. */
const SERVING: readonly Command[] = ['run', 'demo', 'check', 'exec', 'config']
const AND_SYNC: readonly Command[] = [...SERVING, 'sync-targets']
const SYNC: readonly Command[] = ['sync-targets']

export interface OptionSpec {
  kind: 'text' | 'texts' | 'switch' | 'duration' | 'count'
  /** stands for the value in --help and in the reference */
  placeholder?: string
  /** as a person would write it */
  default?: string
  choices?: readonly string[]
  /** one for the whole process, however many endpoints it serves */
  perProcess?: boolean
  /** between several values in one environment variable; default: ':' as in PATH */
  separator?: string
  /** a duration that may be 0 */
  zero?: boolean
  /** it has no flag, for what others can see on a command line */
  environmentOnly?: boolean
  /** the commands that take it; default: all that work on a served database */
  commands?: readonly Command[]
  describe: string
}

export const OPTIONS = {
  'rds-endpoint': {
    kind: 'text',
    commands: AND_SYNC,
    placeholder: 'HOST[:PORT]',
    describe:
      'The RDS, Aurora or RDS Proxy endpoint: the name on the certificate, and what tokens are signed for. Use its own name, not a CNAME',
  },
  connect: {
    kind: 'text',
    placeholder: 'HOST[:PORT]',
    describe:
      'The address to dial, for example a Network Load Balancer in front of the database (default: --rds-endpoint)',
  },
  listen: {
    kind: 'text',
    placeholder: 'HOST:PORT|unix:/PATH|systemd[:NAME]',
    commands: [...SERVING, 'wait'],
    default: '127.0.0.1:3306',
    describe:
      'The address on which clients connect; port 0 takes a free one. A unix socket is for the user alone who runs the proxy (mode 0600); systemd is a socket that a socket unit hands over. Addresses that others can reach need --local-user and --tls-cert, or --trust-network',
  },
  user: {
    kind: 'text',
    placeholder: 'NAME',
    describe: 'The database user to log in as (default: the user that the client names)',
  },
  region: {
    kind: 'text',
    placeholder: 'NAME',
    describe: 'The AWS region of the database (default: read from the name of --rds-endpoint)',
  },
  profile: {
    kind: 'text',
    commands: AND_SYNC,
    placeholder: 'NAME',
    describe:
      'The profile in ~/.aws/config whose credentials sign tokens (default: the whole credential chain of the AWS SDK)',
  },
  ca: {
    kind: 'texts',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'A PEM file of certificate authorities to trust beside the RDS bundle and the public roots; may be given more than once',
  },
  'ca-only': { kind: 'switch', commands: AND_SYNC, describe: 'Trust only what --ca names' },
  'token-in-handshake': {
    kind: 'text',
    choices: ['auto', 'always', 'never'],
    default: 'auto',
    describe:
      'Whether the token goes inside HandshakeResponse41, which saves a round trip, or waits for an AuthSwitchRequest; auto finds out',
  },
  'require-writer': {
    kind: 'switch',
    describe:
      'After each login, ask the server whether it takes writes (innodb_read_only, read_only), and refuse one that does not: a demoted writer behind a stale NLB target',
  },
  'local-user': {
    kind: 'text',
    placeholder: 'NAME',
    describe:
      'The one user that clients log in as here, with a password of its own, checked before a token is made; the database user is --user, or else the same name. For several, use local-users in the configuration file',
  },
  'local-password-file': {
    kind: 'text',
    placeholder: 'FILE',
    describe: "The password of --local-user, or the hash that MySQL stores of it ('*…', '$A$005$…'), on one line",
  },
  'local-password': {
    kind: 'text',
    environmentOnly: true,
    describe: 'In place of --local-password-file',
  },
  'tls-cert': {
    kind: 'text',
    placeholder: 'FILE',
    describe:
      'The certificate (PEM, with its chain) to offer TLS to clients with; read again when it changes, as --tls-key is',
  },
  'tls-key': { kind: 'text', placeholder: 'FILE', describe: 'The key of --tls-cert (PEM)' },
  'require-tls': {
    kind: 'switch',
    describe: 'Refuse clients without TLS; always so on an address that others can reach, unless --trust-network',
  },
  'allow-from': {
    kind: 'texts',
    placeholder: 'CIDR',
    separator: ',',
    describe:
      'A network that clients may come from, for example 10.0.0.0/8; may be given more than once (default: any)',
  },
  'trust-network': {
    kind: 'switch',
    describe:
      'Listen on an address that others can reach without local users and TLS, where the network itself keeps strangers out, as that of a pod does. Whoever reaches it is in the database',
  },
  'max-connections': {
    kind: 'count',
    placeholder: 'N',
    default: '10000',
    describe: 'Open connections of clients, beyond which they are refused (ERR 1040); 0 for no limit',
  },
  'max-logins-per-second': {
    kind: 'count',
    placeholder: 'N',
    default: '150',
    describe:
      'Logins to the database a second; those beyond wait their turn, or are refused when it would come too late. AWS advises fewer than 200. While every login fails for the same reason, one is tried every 1 to 10 seconds. 0 for no limit and no such pause',
  },
  'connect-timeout': {
    kind: 'duration',
    placeholder: 'DURATION',
    default: '5s',
    describe: 'Time for the TCP connection to the database',
  },
  'login-timeout': {
    kind: 'duration',
    placeholder: 'DURATION',
    default: '8s',
    describe: "Time for all of the login after that; keep it below the server's connect_timeout, 10 s by default",
  },
  keepalive: {
    kind: 'duration',
    placeholder: 'DURATION',
    default: '60s',
    describe:
      'Idle time after which TCP keepalive probes begin, on both legs; must be below the idle timeout of an NLB, 350 s by default',
  },
  config: {
    kind: 'text',
    placeholder: 'FILE',
    perProcess: true,
    commands: ['run', 'check', 'exec', 'config'],
    describe:
      'A YAML or JSON file with the options of several endpoints, named as here; flags and environment come before it. Read again at SIGHUP. See docs/configuration.md',
  },
  'max-sigterm-delay': {
    kind: 'duration',
    placeholder: 'DURATION',
    default: '10s',
    zero: true,
    perProcess: true,
    commands: ['run', 'exec'],
    describe:
      'How long sessions get to end their transactions after SIGTERM or SIGINT; those outside of one end at once (ERR 1053), as do all that are left then. A second signal ends the process at once',
  },
  'admin-listen': {
    kind: 'text',
    placeholder: 'HOST:PORT',
    perProcess: true,
    commands: ['run', 'wait', 'sync-targets'],
    describe:
      'Where to serve the status page, /startup, /readiness, /liveness and /metrics (default: nowhere). Beyond loopback the status page needs --admin-token-file',
  },
  'admin-token-file': {
    kind: 'text',
    placeholder: 'FILE',
    perProcess: true,
    commands: ['run', 'sync-targets'],
    describe:
      'A file with the secret that the status page asks for, 16 characters or more, on one line; health and metrics do without',
  },
  quitquitquit: {
    kind: 'switch',
    perProcess: true,
    commands: ['run'],
    describe: 'Let POST /quitquitquit on the admin listener stop the proxy, as SIGTERM does; for Jobs',
  },
  max: {
    kind: 'duration',
    placeholder: 'DURATION',
    default: '30s',
    perProcess: true,
    commands: ['wait'],
    describe: 'How long to wait',
  },
  'exit-zero-on-sigterm': {
    kind: 'switch',
    perProcess: true,
    commands: ['run'],
    describe: 'Exit with 0 after SIGTERM, not with 143',
  },
  'busy-poll': {
    kind: 'duration',
    perProcess: true,
    placeholder: 'DURATION',
    default: '100us',
    zero: true,
    describe:
      'How long to look for more input after the last before the process sleeps, 1 ms at most; saves a quarter of the time of lone small queries, costs processor time. Without effect on a single processor or under a CPU quota below two; 0s turns it off',
  },
  'target-group-arn': {
    kind: 'text',
    commands: SYNC,
    placeholder: 'ARN',
    describe:
      'The target group, of type ip, whose targets are to follow --rds-endpoint; on its port, all but --keep-target',
  },
  resolver: {
    kind: 'texts',
    commands: SYNC,
    placeholder: 'ADDRESS[:PORT]',
    separator: ',',
    describe:
      'A name server to ask in place of those of this machine; may be given more than once, and then all of them must say the same',
  },
  'collect-answers': {
    kind: 'text',
    commands: SYNC,
    choices: ['auto', 'always', 'never'],
    default: 'auto',
    describe:
      'Whether each answer names one of several instances, which are gathered over many look-ups; auto: for reader, custom and RDS Proxy endpoints',
  },
  confirmations: {
    kind: 'count',
    commands: SYNC,
    placeholder: 'NUMBER',
    default: '6',
    describe:
      'Look-ups in a row, 5 s or the time to live apart, that must say the same before a target is removed: names flap for 20 to 30 s in a failover',
  },
  'keep-target': {
    kind: 'texts',
    commands: SYNC,
    placeholder: 'ADDRESS',
    separator: ',',
    describe: 'The address of a target that is never removed; may be given more than once',
  },
  verify: {
    kind: 'switch',
    commands: SYNC,
    describe:
      'Register a new address only after it has presented the certificate of --rds-endpoint; needs a way from here to the database',
  },
  'health-timeout': {
    kind: 'duration',
    commands: SYNC,
    placeholder: 'DURATION',
    default: '5m',
    describe: 'Time for new targets to become healthy; what is gone stays until then',
  },
  'dry-run': { kind: 'switch', commands: SYNC, describe: 'Look once and print what would be done' },
  watch: { kind: 'switch', commands: SYNC, describe: 'Go on until stopped, a pass every --interval' },
  interval: {
    kind: 'duration',
    commands: SYNC,
    placeholder: 'DURATION',
    default: '30s',
    describe: 'Time between two passes of --watch, give or take a tenth',
  },
  'log-level': {
    kind: 'text',
    perProcess: true,
    choices: ['error', 'warn', 'info', 'debug'],
    default: 'info',
    describe: 'How much to log',
  },
  'log-format': {
    kind: 'text',
    perProcess: true,
    choices: ['auto', 'pretty', 'json'],
    default: 'auto',
    describe: 'auto: for people on a terminal, JSON lines otherwise',
  },
  database: {
    kind: 'text',
    placeholder: 'NAME',
    commands: ['check'],
    describe: 'The database to name at the login (default: none)',
  },
  aws: {
    kind: 'switch',
    commands: ['check'],
    describe:
      'Look at the AWS side as well, where the credentials may: the database in RDS, the load balancer before it',
  },
  endpoint: {
    kind: 'text',
    placeholder: 'NAME',
    commands: ['check'],
    describe: 'Of several endpoints in --config, the name of the one to check',
  },
  json: {
    kind: 'switch',
    commands: ['check', 'sync-targets'],
    describe: 'Say how it came out in one JSON document, for scripts; with --watch, a line for each pass',
  },
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS

export const optionNames = Object.keys(OPTIONS) as OptionName[]

export function isOption(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name)
}

/** The options that `command` takes, in the table's order. */
export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter(name => {
    const { commands, environmentOnly } = optionSpec(name)
    return !environmentOnly && (commands ?? SERVING).includes(command)
  })
}

/** The table with each row as an OptionSpec, for code that goes over all of them. */
export const optionSpec = (name: OptionName): OptionSpec => OPTIONS[name]

/** What the names of all our environment variables begin with. */
export const ENVIRONMENT_PREFIX = 'MYSQL_IAM_PROXY_'

/** The environment variable of an option: MYSQL_IAM_PROXY_RDS_ENDPOINT for rds-endpoint. */
export function environmentName(option: OptionName): string {
  return ENVIRONMENT_PREFIX + option.toUpperCase().replaceAll('-', '_')
}
