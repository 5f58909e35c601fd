/** The way to the database, and the trust in it. */
import { databaseProxyProblem } from '../../forward-proxy.ts'
import { OPTION_VALUES } from '../../option-values.ts'
import { ssmTargetProblem } from '../../ssm-target.ts'
import { tunnelCommandProblem } from '../../tunnel-command.ts'
import { AND_ADD, AND_SYNC, duration, type OptionSpec } from '../option-spec.ts'

export const DATABASE = {
  proxy: {
    kind: 'string',
    commands: AND_ADD,
    placeholder: 'URL',
    check: databaseProxyProblem,
    describe:
      'The forward proxy on the way to the database: socks5:// or http://[USER:PASSWORD@]HOST:PORT. It resolves the name of the address to dial. Other users can see a command line, so set a password with the environment variable (default: none)',
  },
  tunnel: {
    kind: 'string',
    commands: AND_ADD,
    placeholder: 'COMMAND',
    check: tunnelCommandProblem,
    describe:
      "A command that forwards 127.0.0.1:{localPort} to {host}:{port}, for example 'ssh -N -L {localPort}:{host}:{port} bastion'. The proxy fills in a free port and the address to dial, starts the command with the first client, without a shell, and restarts it if it ends. See docs/tunnels.md (default: none)",
  },
  'ssm-target': {
    kind: 'string',
    commands: AND_ADD,
    placeholder: 'TARGET',
    check: ssmTargetProblem,
    describe:
      'A tunnel through Session Manager of AWS Systems Manager: the EC2 instance (i-…), managed node (mi-…) or ECS container (ecs:CLUSTER_TASKID_RUNTIMEID) that reaches the database. The Session Manager plugin is used if it is installed, and not needed. See docs/ssm.md (default: none)',
  },
  'tunnel-timeout': {
    ...duration(OPTION_VALUES.tunnelTimeout),
    describe: 'Time from the start of the tunnel until its port must accept connections. Logins wait for it',
  },
  'tunnel-idle-timeout': {
    ...duration(OPTION_VALUES.tunnelIdleTimeout),
    describe:
      'Time without a connection through the tunnel after which it ends. With 0s it opens with the proxy and stays open',
  },
  ca: {
    kind: 'strings',
    commands: [...AND_SYNC, 'list', 'add'],
    placeholder: 'FILE',
    describe:
      'A PEM file of certificate authorities to trust in addition to the RDS bundle and the public roots; may be repeated',
  },
  'ca-only': {
    kind: 'boolean',
    restricts: true,
    commands: [...AND_SYNC, 'list', 'add'],
    describe: 'Trust only the authorities of --ca',
  },
  'region-bundle': {
    kind: 'string',
    commands: [...AND_SYNC, 'list', 'add'],
    ...OPTION_VALUES.regionBundle,
    describe:
      "Which CA certificates of RDS to trust beside the built-in ones. cached: those that mysql-iam-proxy trust update has downloaded for the database's region. auto: the proxy also downloads them itself, in the background, if the server's CA is unknown. off: none",
  },
  'bundle-cache': {
    kind: 'string',
    commands: [...AND_SYNC, 'trust', 'list', 'add'],
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
  compress: {
    kind: 'string',
    commands: AND_ADD,
    ...OPTION_VALUES.compress,
    describe:
      'Compression between the proxy and the database, for clients that ask for none: fewer bytes and shorter waits over a slow line, for processor time of the database. zstd: zlib is used where the server or Node.js has no zstd. auto: zstd if the line to the database is slow',
  },
  'require-writer': {
    kind: 'boolean',
    commands: AND_ADD,
    describe:
      'After each login, ask the server if it takes writes (innodb_read_only, read_only), and refuse a read-only server, such as a demoted writer behind a stale NLB target',
  },
} as const satisfies Record<string, OptionSpec>
