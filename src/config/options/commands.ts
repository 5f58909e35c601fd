/** Options of single commands. */
import { formatNames } from '../../connection-formats.ts'
import { endpointNameProblem, processIdProblem } from '../../value-checks.ts'
import { duration, HOUR_MS, type OptionSpec } from '../option-spec.ts'

export const OF_COMMANDS = {
  as: {
    kind: 'string',
    placeholder: 'NAME',
    check: endpointNameProblem,
    commands: ['add'],
    describe: 'The name of the endpoint in the configuration file (default: that of the database)',
  },
  'no-check': {
    kind: 'boolean',
    commands: ['add'],
    describe: 'Write the endpoint into the file without a login first',
  },
  'no-input': {
    kind: 'boolean',
    commands: ['list', 'add', 'remove', 'check', 'exec', 'hash-password'],
    describe:
      'Ask nothing, also on a terminal. A missing option is then an error; check then writes the file of --report only with --yes',
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
  'syntax-only': {
    kind: 'boolean',
    perProcess: true,
    commands: ['config'],
    describe:
      'Check only the configuration itself, not the files and addresses that it names. For a configuration whose credentials exist only while the service runs',
  },
  'sso-session': {
    kind: 'string',
    placeholder: 'NAME',
    perProcess: true,
    commands: ['login'],
    describe: 'The sso-session section of ~/.aws/config to sign in to, instead of the one of a profile',
  },
  'device-code': {
    kind: 'boolean',
    perProcess: true,
    commands: ['login'],
    describe:
      'Sign in with a device code, so that the browser may be on another machine (default: only where no browser can be opened, as over SSH)',
  },
  'no-browser': {
    kind: 'boolean',
    perProcess: true,
    commands: ['login'],
    describe: 'Print the address, and open no browser',
  },
  database: {
    kind: 'string',
    placeholder: 'NAME',
    commands: ['check', 'url'],
    describe: 'The default database of the login (default: none)',
  },
  format: {
    kind: 'string',
    choices: [...formatNames, 'text'],
    commands: ['url'],
    default: 'mysql',
    describe:
      'What to print: a URL, a connection string, a command line or variables for one kind of client, or text for people',
  },
  host: {
    kind: 'string',
    placeholder: 'HOST',
    commands: ['url'],
    describe: 'The name of the proxy for clients on other machines (default: the address of --listen)',
  },
  'ssl-ca': {
    kind: 'string',
    placeholder: 'FILE',
    commands: ['url'],
    describe:
      'The authority of the certificate of --tls-cert, for a line that verifies it (default: a line without verification)',
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
    commands: ['check', 'sync-targets', 'list'],
    describe: 'Print the result as one JSON document, for scripts; with --watch, one line for each pass',
  },
  method: {
    kind: 'string',
    perProcess: true,
    choices: ['caching_sha2_password', 'mysql_native_password'],
    default: 'caching_sha2_password',
    commands: ['hash-password'],
    describe:
      'The authentication method that the hash is for. mysql_native_password also serves clients without TLS, except those of MySQL 9',
  },
  'aws-only': {
    kind: 'boolean',
    commands: ['list'],
    describe: 'Ask only AWS: do not try which databases and load balancers this machine reaches',
  },
  pid: {
    kind: 'string',
    placeholder: 'PID',
    check: processIdProblem,
    perProcess: true,
    flagOnly: true,
    commands: ['reload', 'upgrade', 'stop'],
    describe: 'The process id of the proxy, if this user runs several',
  },
  system: {
    kind: 'boolean',
    perProcess: true,
    flagOnly: true,
    commands: ['service'],
    describe:
      'A service of the whole machine instead of your user: it starts with the machine and serves /etc/mysql-iam-proxy/config.yaml. It needs systemd and root',
  },
  'keep-env': {
    kind: 'strings',
    placeholder: 'NAME',
    perProcess: true,
    flagOnly: true,
    commands: ['service'],
    describe:
      'An environment variable that the service gets, with its present value, for example AWS_PROFILE. May be repeated. Without it, the service gets none of your shell',
  },
  follow: {
    kind: 'boolean',
    short: 'f',
    perProcess: true,
    flagOnly: true,
    commands: ['service'],
    describe: 'service logs: go on with new lines until Ctrl-C',
  },
  'print-policy': {
    kind: 'boolean',
    commands: ['list'],
    describe: 'Print the least IAM policy for this command, and do nothing else',
  },
} as const satisfies Record<string, OptionSpec>
