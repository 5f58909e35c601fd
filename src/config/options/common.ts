/** The options that most people need. */
import { listenProblem, remoteProblem } from '../../endpoint.ts'
import { OPTION_VALUES } from '../../option-values.ts'
import { databaseUserProblem, portProblem, regionNameProblem } from '../../value-checks.ts'
import { AND_ADD, AND_SYNC, type OptionSpec } from '../option-spec.ts'

export const COMMON = {
  'rds-endpoint': {
    kind: 'string',
    commands: [...AND_SYNC, 'add', 'trust'],
    placeholder: 'HOST[:PORT]',
    check: remoteProblem,
    describe:
      'The endpoint of RDS for MySQL, RDS for MariaDB, Aurora MySQL or RDS Proxy: the name on the certificate and the name that tokens are signed for. Use the original name, not a CNAME or a load balancer',
  },
  connect: {
    kind: 'string',
    commands: AND_ADD,
    placeholder: 'HOST[:PORT]',
    check: remoteProblem,
    describe:
      'The address to dial, for example a Network Load Balancer in front of the database, or a local port of a tunnel (default: --rds-endpoint)',
  },
  listen: {
    kind: 'string',
    placeholder: 'HOST:PORT|unix:/PATH|systemd[:NAME]',
    commands: [...AND_ADD, 'wait'],
    default: OPTION_VALUES.listen.default,
    check: listenProblem,
    describe:
      'The address that clients connect to. Port 0 takes a free port. A unix socket is only for the user who runs the proxy (mode 0600). systemd takes the socket of a socket unit. An address that other machines can reach needs --local-user and --tls-cert, or --trust-network',
  },
  port: {
    kind: 'string',
    short: 'p',
    placeholder: 'PORT',
    commands: ['run', 'exec', 'demo', 'check', 'wait', 'url', 'add'],
    flagOnly: true,
    check: portProblem,
    describe:
      'The same as --listen 127.0.0.1:PORT. With several endpoints on the line, the first listens on this port, the next on the one after it',
  },
  user: {
    kind: 'string',
    commands: AND_ADD,
    placeholder: 'NAME',
    check: databaseUserProblem,
    describe: 'The database user to log in as (default: the user that the client names)',
  },
  region: {
    kind: 'string',
    commands: [...AND_ADD, 'trust', 'list'],
    repeatedBy: ['list'],
    placeholder: 'NAME',
    check: regionNameProblem,
    describe:
      'The AWS region of the database (default: read from the name of --rds-endpoint; for the writer endpoint of an Aurora Global Database, at each login from the certificate of the server). list takes several, or all; its default is the region of each profile',
  },
  profile: {
    kind: 'string',
    commands: [...AND_SYNC, 'list', 'login', 'add'],
    repeatedBy: ['list'],
    placeholder: 'NAME',
    describe:
      'The profile in ~/.aws/config whose credentials sign tokens (default: the credential chain of the AWS SDK). list takes several',
  },
  config: {
    kind: 'string',
    placeholder: 'FILE',
    perProcess: true,
    commands: ['run', 'add', 'remove', 'check', 'exec', 'config', 'url', 'service'],
    describe:
      'A YAML or JSON file with options, for several endpoints if you like; flags and environment variables override it. SIGHUP reads it again. See docs/configuration.md',
  },
} as const satisfies Record<string, OptionSpec>
