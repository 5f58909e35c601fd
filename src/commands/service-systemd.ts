/** The units of systemd. https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html */
import {
  RESTART_SECONDS,
  SERVICE_NAME,
  type ServiceContext,
  type ServicePlan,
  SHOWN_LINES,
  WRITTEN_BY,
} from './service-plan.ts'

const UNIT = `${SERVICE_NAME}.service`

/** Longer than max-sigterm-delay, so that systemd does not kill the proxy while it waits for transactions. */
const MORE_SECONDS = 15

/** A unit of the user's own manager: it starts when the user logs in. */
export function systemdUserPlan(context: ServiceContext): ServicePlan {
  const manager = ['systemctl', '--user']
  const text = unitText(context, [], 'default.target')
  return {
    ...planFor(manager, `${context.home.config}/systemd/user/${UNIT}`, text, context),
    name: `the systemd user unit ${UNIT}`,
    logs: follow => ['journalctl', '--user', ...journalOptions(follow)],
    notes: [
      'It starts when you log in, and stops when your last session ends. To keep it running without a session, run loginctl enable-linger.',
    ],
  }
}

/** A unit of the system: it starts with the machine, as a user that exists only while it runs. */
export function systemdSystemPlan(context: ServiceContext): ServicePlan {
  return {
    ...planFor(['systemctl'], `/etc/systemd/system/${UNIT}`, unitText(context, SANDBOX, 'multi-user.target'), context),
    name: `the systemd unit ${UNIT}`,
    logs: follow => ['journalctl', ...journalOptions(follow)],
    notes: [
      'It starts with the machine, as a user without a home directory. Profiles need a file that this user can read, and --keep-env AWS_CONFIG_FILE.',
    ],
  }
}

function planFor(
  manager: readonly string[],
  path: string,
  text: string,
  { environment }: ServiceContext,
): Omit<ServicePlan, 'name' | 'logs' | 'notes'> {
  const step = (...words: string[]) => ({ words: [...manager, ...words] })
  return {
    files: [{ path, text, mode: Object.keys(environment).length > 0 ? 0o600 : 0o644, encoding: 'utf8' }],
    writes: [],
    // A restart also takes a changed unit into account. It waits until the proxy says that it is ready.
    start: [step('daemon-reload'), step('enable', UNIT), step('restart', UNIT)],
    stop: [{ ...step('disable', '--now', UNIT), mayFail: true }],
    forget: [step('daemon-reload'), { ...step('reset-failed', UNIT), mayFail: true }],
    killsOnly: false,
    status: [...manager, 'status', '--no-pager', UNIT],
  }
}

function journalOptions(follow: boolean): string[] {
  return ['--no-pager', '--unit', UNIT, '--lines', String(SHOWN_LINES), ...(follow ? ['--follow'] : [])]
}

function unitText({ program, config, drainMs, environment }: ServiceContext, more: string[], target: string): string {
  const variables = Object.entries(environment).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`)
  const isOfSystem = target === 'multi-user.target'
  return `# ${WRITTEN_BY}
[Unit]
Description=MySQL proxy that logs in to Amazon RDS with IAM
${isOfSystem ? 'After=network-online.target\nWants=network-online.target\n' : ''}StartLimitIntervalSec=0

[Service]
Type=notify
# The proxy sends its state with the program systemd-notify.
NotifyAccess=all
ExecStart=${[quoted(program[0] ?? ''), ...[...program.slice(1), '--config', config].map(word)].join(' ')}
ExecReload=kill -HUP $MAINPID
TimeoutStartSec=60s
# max-sigterm-delay, and ${MORE_SECONDS} s more
TimeoutStopSec=${Math.ceil(drainMs / 1_000) + MORE_SECONDS}s
# A stop exits with 143. After invalid settings (2), a restart doesn't help.
SuccessExitStatus=143
Restart=on-failure
RestartSec=${RESTART_SECONDS}s
RestartPreventExitStatus=2
LimitNOFILE=65536
UMask=0077
${[...variables, ...more].map(line => `${line}\n`).join('')}
[Install]
WantedBy=${target}
`
}

/** A word of ExecStart= behind the program. The manager replaces %specifiers in all words, and $VARIABLES in these. */
function word(text: string): string {
  return quoted(text.replaceAll('$', '$$$$'))
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')}"`
}

/** As in examples/systemd: no privileges, no home directories, no written files but its own in /run. */
const SANDBOX = [
  'DynamicUser=yes',
  `RuntimeDirectory=${SERVICE_NAME}`,
  'RuntimeDirectoryMode=0700',
  'NoNewPrivileges=yes',
  'ProtectSystem=strict',
  'ProtectHome=yes',
  'PrivateTmp=yes',
  'PrivateDevices=yes',
  'PrivateUsers=yes',
  'PrivateMounts=yes',
  'ProtectClock=yes',
  'ProtectControlGroups=yes',
  'ProtectHostname=yes',
  'ProtectKernelLogs=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelTunables=yes',
  'ProtectProc=invisible',
  'ProcSubset=pid',
  'RemoveIPC=yes',
  'LockPersonality=yes',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
  'CapabilityBoundingSet=',
  'AmbientCapabilities=',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service',
  'SystemCallFilter=~@privileged @resources',
  'SystemCallErrorNumber=EPERM',
]
