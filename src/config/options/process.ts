/** The log, health and status page, and the end of the process. */
import { LOG_LEVELS } from '../../log.ts'
import { hostAndPortProblem } from '../../value-checks.ts'
import { duration, HOUR_MS, type OptionSpec } from '../option-spec.ts'

export const PROCESS = {
  'log-level': {
    kind: 'string',
    perProcess: true,
    choices: LOG_LEVELS,
    default: 'info',
    describe: 'How much to log',
  },
  quiet: {
    kind: 'boolean',
    short: 'q',
    perProcess: true,
    flagOnly: true,
    commands: ['run', 'exec', 'check', 'sync-targets', 'trust'],
    describe: 'Only warnings and errors: the same as --log-level warn, and check prints only the steps with problems',
  },
  'log-format': {
    kind: 'string',
    perProcess: true,
    choices: ['auto', 'pretty', 'json'],
    default: 'auto',
    describe: 'pretty for people, or one JSON object per line. auto: pretty on a terminal, json otherwise',
  },
  'max-sigterm-delay': {
    ...duration({ default: 10_000, min: 0, max: 24 * HOUR_MS }),
    perProcess: true,
    commands: ['run', 'exec', 'config'],
    describe:
      'After SIGTERM or SIGINT, the time for sessions to finish their transactions. Sessions outside a transaction end at once (ERR 1053), the others at the end of that time. A second signal ends the process at once',
  },
  'exit-zero-on-sigterm': {
    kind: 'boolean',
    perProcess: true,
    commands: ['run', 'config'],
    describe: 'Exit with code 0 after SIGTERM, not with 143',
  },
  'sign-in': {
    kind: 'string',
    placeholder: 'never|auto',
    perProcess: true,
    choices: ['never', 'auto'],
    commands: ['run', 'config'],
    describe:
      'Whether the login of a client may start a sign-in to AWS SSO, or a question for an MFA code, if credentials need it. auto: yes; the terminal, the status page and the error of the client say what to do (default: auto on a terminal, else never)',
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
} as const satisfies Record<string, OptionSpec>
