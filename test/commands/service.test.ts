import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse as parsePlist } from 'plist'
import { type Test, test } from 'tap'
import { service } from '../../src/commands/service.ts'
import { launchdPlan } from '../../src/commands/service-launchd.ts'
import { type Ended, hiddenKind, type Machine } from '../../src/commands/service-machine.ts'
import { type ServiceContext, type ServicePlan, WRITTEN_BY } from '../../src/commands/service-plan.ts'
import { carriedEnvironment, homeOfService, programOfService } from '../../src/commands/service-program.ts'
import { systemdSystemPlan, systemdUserPlan } from '../../src/commands/service-systemd.ts'
import { windowsPlan } from '../../src/commands/service-windows.ts'
import { createTestClock } from '../support/clock.ts'
import { ensureProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'

/** Names that each format must quote: blanks, quotes, percent and dollar signs, markup. */
const AWKWARD = `/opt/a b/it's 100% <$HOME> & "x"\\y`

const context: ServiceContext = {
  program: ['/usr/bin/node', '/opt/my tools/mysql-iam-proxy.js'],
  config: '/home/ada/.config/mysql-iam-proxy/config.yaml',
  drainMs: 10_001,
  environment: {},
  home: { home: '/home/ada', config: '/home/ada/.config', local: '' },
  user: { name: 'ada', uid: 1000 },
}

const windows: ServiceContext = {
  ...context,
  program: ['C:\\Program Files\\nodejs\\node.exe', 'C:\\Users\\Ada O’Hara\\npm\\mysql-iam-proxy.js'],
  config: 'C:\\Users\\Ada O’Hara\\100%\\config.yaml',
  home: { home: 'C:\\Users\\Ada O’Hara', config: '', local: 'C:\\Users\\Ada O’Hara\\AppData\\Local' },
  user: { name: 'CORP\\ada & bob', uid: -1 },
}

const textOf = ({ files }: ServicePlan, index = 0) => files[index]!.text

test('programOfService: the executable, or Node.js with the script, by paths that stay', t => {
  const links: Record<string, string> = {
    '/usr/bin/mysql-iam-proxy': '/usr/lib/mysql-iam-proxy/mysql-iam-proxy',
    '/opt/homebrew/bin/node': '/opt/homebrew/Cellar/node/24.1.0/bin/node',
    '/usr/local/bin/mysql-iam-proxy': '/usr/local/lib/node_modules/mysql-iam-proxy/dist/bin/mysql-iam-proxy.js',
  }
  const realPath = (path: string) => links[path] ?? (path.startsWith('/missing') ? undefined : path)
  const programOf = (execPath: string, script?: string, execArgv: string[] = []) =>
    programOfService({ execPath, execArgv, script, realPath })
  t.same(programOf('/usr/lib/mysql-iam-proxy/mysql-iam-proxy'), ['/usr/bin/mysql-iam-proxy'])
  t.same(programOf('/home/ada/bin/mysql-iam-proxy'), ['/home/ada/bin/mysql-iam-proxy'])
  t.same(
    programOf('/opt/homebrew/Cellar/node/24.1.0/bin/node', '/usr/local/bin/mysql-iam-proxy'),
    ['/opt/homebrew/bin/node', links['/usr/local/bin/mysql-iam-proxy']],
    'Homebrew removes the folder of an old version, and keeps the link',
  )
  t.same(programOf('/n/node', '/missing/x.js', ['--import=tsx']), ['/n/node', '--import=tsx', '/missing/x.js'])
  for (const [script, name] of [
    ['/home/ada/.npm/_npx/6a3f/node_modules/.bin/mysql-iam-proxy', 'npx'],
    ['C:\\Users\\ada\\AppData\\Local\\npm-cache\\_npx\\6a\\node_modules\\mysql-iam-proxy\\x.js', 'npx'],
    ['/home/ada/.cache/pnpm/dlx/abc/node_modules/x.js', 'dlx'],
    ['/tmp/xfs-1/dlx-123/node_modules/x.js', 'dlx'],
    ['/tmp/bunx-1000-mysql-iam-proxy@latest/node_modules/x.js', 'bunx'],
  ] as const) {
    t.throws(() => programOf('/n/node', script), {
      code: 'CONFIG_INVALID',
      message: new RegExp(`^service: ${name} keeps this program in its cache, which it may delete; install it`),
    })
  }
  t.end()
})

test('carriedEnvironment: only what is asked for, and no secrets', t => {
  const environment = { AWS_PROFILE: 'dev', HTTPS_PROXY: 'http://p', HOME: '/h', AWS_REGION: '', EMPTY: '' }
  t.same(carriedEnvironment([], environment), { kept: {}, left: ['AWS_PROFILE', 'HTTPS_PROXY'] })
  t.same(carriedEnvironment(['AWS_PROFILE', 'EMPTY'], environment), {
    kept: { AWS_PROFILE: 'dev', EMPTY: '' },
    left: ['HTTPS_PROXY'],
  })
  const refused = (name: string, values: NodeJS.ProcessEnv, message: RegExp) =>
    t.throws(() => carriedEnvironment([name], values), { code: 'CONFIG_INVALID', message })
  refused('AWS_REGION2', {}, /^--keep-env: AWS_REGION2 is not set$/)
  refused('A=B', { 'A=B': 'x' }, /^--keep-env: "A=B" is not the name of a variable$/)
  refused('MULTI', { MULTI: 'a\nb' }, /control character/)
  for (const name of ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'MYSQL_IAM_PROXY_LOCAL_PASSWORD']) {
    refused(name, { [name]: 'hidden' }, new RegExp(`^--keep-env: ${name} is a secret`))
  }
  t.end()
})

test('homeOfService: the folders of each system', t => {
  t.same(homeOfService({ HOME: '/home/ada', XDG_CONFIG_HOME: 'relative' }, 'linux'), {
    home: '/home/ada',
    config: '/home/ada/.config',
    local: '/home/ada/AppData/Local',
  })
  t.match(homeOfService({ HOME: '/home/ada', XDG_CONFIG_HOME: '/cfg' }, 'linux'), { config: '/cfg' })
  t.match(homeOfService({ USERPROFILE: 'C:\\Users\\ada' }, 'win32'), { local: 'C:\\Users\\ada\\AppData\\Local' })
  t.match(homeOfService({ USERPROFILE: 'C:\\U', LOCALAPPDATA: 'D:\\L' }, 'win32'), { local: 'D:\\L' })
  t.throws(() => homeOfService({}, 'linux'), { code: 'CONFIG_INVALID', message: /HOME does not name one/ })
  t.throws(() => homeOfService({ HOME: '/x' }, 'win32'), { code: 'CONFIG_INVALID', message: /USERPROFILE/ })
  t.end()
})

test('systemd: the unit of the user', t => {
  const plan = systemdUserPlan({ ...context, config: AWKWARD, environment: { AWS_PROFILE: 'de"v 5%' } })
  const text = textOf(plan)
  t.equal(plan.files[0]!.path, '/home/ada/.config/systemd/user/mysql-iam-proxy.service')
  t.equal(plan.files[0]!.mode, 0o600, 'it has a value of the environment')
  t.equal(systemdUserPlan(context).files[0]!.mode, 0o644)
  t.match(
    text,
    `ExecStart="/usr/bin/node" "/opt/my tools/mysql-iam-proxy.js" "--config" "/opt/a b/it's 100%% <$$HOME> & \\"x\\"\\\\y"\n`,
  )
  t.match(text, 'Environment="AWS_PROFILE=de\\"v 5%%"\n')
  t.match(text, 'TimeoutStopSec=26s\n', 'longer than max-sigterm-delay')
  t.match(text, 'WantedBy=default.target\n')
  t.notMatch(text, 'network-online', 'the manager of a user has no such target')
  t.notMatch(text, 'DynamicUser')
  t.same(
    plan.start.map(({ words }) => words.join(' ')),
    ['daemon-reload', 'enable mysql-iam-proxy.service', 'restart mysql-iam-proxy.service'].map(
      words => `systemctl --user ${words}`,
    ),
  )
  t.same(plan.logs(true).slice(-3), ['--lines', '200', '--follow'])
  t.notOk(plan.logs(false).includes('--follow'))
  t.end()
})

test('systemd: the unit of the system is the one of examples/systemd, but opens its ports itself', async t => {
  const text = textOf(systemdSystemPlan({ ...context, program: ['/usr/bin/mysql-iam-proxy'], config: '/etc/c.yaml' }))
  const example = await readFile(new URL('../../examples/systemd/mysql-iam-proxy.service', import.meta.url), 'utf8')
  const settings = (unit: string) => unit.split('\n').filter(line => /^[A-Z]\w*=/.test(line))
  const sandbox = settings(example.slice(example.indexOf('DynamicUser=')))
  t.ok(sandbox.length > 25, `${sandbox.length} settings`)
  for (const line of sandbox.filter(line => !/^(UMask|MemoryDeny)/.test(line)))
    t.ok(settings(text).includes(line), line)
  t.match(text, 'RuntimeDirectory=mysql-iam-proxy\n')
  t.match(text, 'After=network-online.target\n')
  t.end()
})

test('systemd-analyze verify accepts both units', async t => {
  const analyze = await ensureProgram('systemd-analyze', 'systemd')
  const directory = t.testdir({ 'a b$c%d': '#!/bin/sh' })
  const program = join(directory, 'a b$c%d')
  await chmod(program, 0o755)
  for (const [name, plan] of [
    ['awkward', systemdUserPlan({ ...context, program: [program, program] })],
    ['user', systemdUserPlan({ ...context, program: [process.execPath], config: AWKWARD })],
    ['system', systemdSystemPlan({ ...context, program: [process.execPath], environment: { A: AWKWARD } })],
  ] as const) {
    const path = join(directory, `${name}-proxy.service`)
    await writeFile(path, textOf(plan))
    const env = { ...process.env, XDG_RUNTIME_DIR: directory, SYSTEMD_LOG_TARGET: 'console' }
    const { stderr } = await promisify(execFile)(analyze, ['verify', '--man=no', '--recursive-errors=no', path], {
      env,
    })
    t.notMatch(stderr, `${name}-proxy.service`, `${name}: ${stderr}`)
  }
})

test('launchd: a property list with the keys of launchd.plist(5)', t => {
  const plan = launchdPlan({ ...context, config: AWKWARD, environment: { AWS_PROFILE: '<dev>' } })
  const text = textOf(plan)
  const list = parsePlist(text) as Record<string, unknown>
  t.ok(text.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"'))
  t.same(list['ProgramArguments'], [...context.program, '--config', AWKWARD, '--log-format', 'json'])
  t.match(list['EnvironmentVariables'], { AWS_PROFILE: '<dev>', PATH: /^\/opt\/homebrew\/bin:/ })
  t.match(list, {
    Label: 'mysql-iam-proxy',
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    ExitTimeOut: 26,
    ProcessType: 'Interactive',
    Umask: 0o077,
    StandardOutPath: '/home/ada/Library/Logs/mysql-iam-proxy.log',
  })
  t.equal(plan.files[0]!.path, '/home/ada/Library/LaunchAgents/mysql-iam-proxy.plist')
  t.same(plan.start.at(-1)!.words, ['launchctl', 'bootstrap', 'gui/1000', plan.files[0]!.path])
  t.same(plan.logs(true), ['tail', '-n', '200', '-F', '/home/ada/Library/Logs/mysql-iam-proxy.log'])
  t.notOk(plan.logs(false).includes('-F'))
  t.end()
})

/** Of the schema, as far as the task uses it. https://learn.microsoft.com/en-us/windows/win32/taskschd/task-scheduler-schema */
const TASK_SCHEMA: Record<string, { children?: string[]; isSequence?: boolean; value?: RegExp }> = {
  Task: { children: ['RegistrationInfo', 'Triggers', 'Principals', 'Settings', 'Data', 'Actions'] },
  RegistrationInfo: { children: ['URI', 'Author', 'Version', 'Description', 'Documentation', 'Source', 'Date'] },
  Description: {},
  Triggers: { children: ['LogonTrigger', 'BootTrigger', 'TimeTrigger'] },
  LogonTrigger: {
    isSequence: true,
    children: ['Enabled', 'StartBoundary', 'EndBoundary', 'Repetition', 'ExecutionTimeLimit', 'UserId', 'Delay'],
  },
  UserId: { value: /./ },
  Principals: { children: ['Principal'] },
  Principal: { children: ['UserId', 'LogonType', 'GroupId', 'DisplayName', 'RunLevel'] },
  LogonType: { value: /^(S4U|Password|InteractiveToken|InteractiveTokenOrPassword)$/ },
  RunLevel: { value: /^(LeastPrivilege|HighestAvailable)$/ },
  Settings: {
    children: [
      'AllowStartOnDemand',
      'RestartOnFailure',
      'MultipleInstancesPolicy',
      'DisallowStartIfOnBatteries',
      'StopIfGoingOnBatteries',
      'AllowHardTerminate',
      'StartWhenAvailable',
      'RunOnlyIfNetworkAvailable',
      'WakeToRun',
      'Enabled',
      'Hidden',
      'IdleSettings',
      'ExecutionTimeLimit',
      'Priority',
      'RunOnlyIfIdle',
    ],
  },
  MultipleInstancesPolicy: { value: /^(Parallel|Queue|IgnoreNew|StopExisting)$/ },
  IdleSettings: { children: ['Duration', 'WaitTimeout', 'StopOnIdleEnd', 'RestartOnIdle'] },
  ExecutionTimeLimit: { value: /^P(T?\d+[DHMS])+$/ },
  Priority: { value: /^(\d|10)$/ },
  Actions: { children: ['Exec'] },
  Exec: { children: ['Command', 'Arguments', 'WorkingDirectory'] },
  Command: { value: /./ },
  Arguments: {},
}
const BOOLEANS =
  /^(Enabled|DisallowStartIfOnBatteries|StopIfGoingOnBatteries|StartWhenAvailable|StopOnIdleEnd|RestartOnIdle)$/

interface XmlElement {
  name: string
  attributes: Record<string, string>
  children: XmlElement[]
  text: string
}

/** Well-formed XML of elements, attributes and text. */
function parseXml(text: string): XmlElement {
  const decode = (value: string) => value.replace(/&#(\d+);/g, (_whole, code) => String.fromCodePoint(Number(code)))
  const root: XmlElement = { name: '', attributes: {}, children: [], text: '' }
  const open = [root]
  const body = text.replace(/^<\?xml [^>]*\?>/, '').replace(/<!--[\s\S]*?-->/g, '')
  for (const [, close, name, attributes, value] of body.matchAll(/<(\/)?(\w+)((?: \w+="[^"<&]*")*)>|([^<]+)/g)) {
    if (value !== undefined) {
      if (/&(?!#\d+;)|>/.test(value)) throw new Error(`not escaped: ${value}`)
      open.at(-1)!.text += decode(value)
    } else if (close) {
      if (open.pop()?.name !== name) throw new Error(`</${name}> closes nothing`)
    } else {
      const pairs = [...attributes!.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, is]) => [key, is])
      const element = { name: name!, attributes: Object.fromEntries(pairs), children: [], text: '' }
      open.at(-1)!.children.push(element)
      open.push(element)
    }
  }
  if (open.length !== 1 || root.children.length !== 1) throw new Error('an element is not closed')
  return root.children[0]!
}

function checkTask(t: Test, element: XmlElement): void {
  const { name, children, text } = element
  const known = TASK_SCHEMA[name] ?? (BOOLEANS.test(name) ? { value: /^(true|false)$/ } : undefined)
  t.ok(known, name)
  const names = children.map(child => child.name)
  const allowed = known?.children ?? []
  if (name !== 'Triggers') t.equal(new Set(names).size, names.length, `${name}: each child once`)
  for (const child of names) t.ok(allowed.includes(child), `${name}/${child}`)
  if (known?.isSequence)
    t.same(
      names,
      allowed.filter(child => names.includes(child)),
      `${name}: the order`,
    )
  if (known?.value) t.match(text, known.value, name)
  for (const child of children) checkTask(t, child)
}

test('Windows: the task follows the schema of the Task Scheduler', t => {
  const plan = windowsPlan(windows)
  const task = plan.files[1]!
  t.equal(task.encoding, 'utf16')
  t.ok(task.text.startsWith('<?xml version="1.0" encoding="UTF-16"?>\r\n'))
  const root = parseXml(task.text)
  t.same(root.attributes, { version: '1.2', xmlns: 'http://schemas.microsoft.com/windows/2004/02/mit/task' })
  checkTask(t, root)
  const find = (name: string, element = root): XmlElement[] =>
    element.children.flatMap(child => [...(child.name === name ? [child] : []), ...find(name, child)])
  t.same(
    find('UserId').map(({ text }) => text),
    ['CORP\\ada & bob', 'CORP\\ada & bob'],
    'a trigger without a user needs an administrator',
  )
  t.equal(find('ExecutionTimeLimit')[0]!.text, 'PT0S', 'without it, Windows ends the task after three days')
  t.equal(find('StopIfGoingOnBatteries')[0]!.text, 'false')
  t.equal(
    find('Arguments')[0]!.text,
    `-NoProfile -NonInteractive -WindowStyle Hidden -Command "& 'C:\\Users\\Ada O’’Hara\\AppData\\Local\\mysql-iam-proxy\\service.cmd'; exit $LASTEXITCODE"`,
  )
  t.same(plan.start[0]!.words, ['schtasks.exe', '/Create', '/TN', 'mysql-iam-proxy', '/XML', task.path, '/F'])
  t.end()
})

test('Windows: the script restarts the proxy after a failure, and keeps its log', t => {
  const plan = windowsPlan({ ...windows, environment: { AWS_PROFILE: 'dev & 5%' } })
  const lines = textOf(plan).split('\r\n')
  const local = 'C:\\Users\\Ada O’Hara\\AppData\\Local\\mysql-iam-proxy'
  t.ok(lines.includes(`rem ${WRITTEN_BY}`))
  t.ok(lines.includes('set "AWS_PROFILE=dev & 5%%"'))
  t.ok(
    lines.includes(
      `"C:\\Program Files\\nodejs\\node.exe" "C:\\Users\\Ada O’Hara\\npm\\mysql-iam-proxy.js" "--config" "C:\\Users\\Ada O’Hara\\100%%\\config.yaml" "--log-format" "json" >>"${local}\\service.log" 2>&1`,
    ),
  )
  t.same(lines.slice(-6), [
    'set "CODE=%ERRORLEVEL%"',
    'if %CODE% EQU 0 exit /b 0',
    'if %CODE% EQU 2 exit /b 2',
    'ping -n 6 127.0.0.1 >nul',
    'goto start',
    '',
  ])
  t.same(plan.writes, [`${local}\\service.log`, `${local}\\service.log.old`])
  t.match(plan.logs(true).at(-1), /-LiteralPath 'C:\\Users\\Ada O’’Hara\\.*service\.log' -Tail 200 -Wait$/)
  t.throws(() => windowsPlan({ ...windows, environment: { A: 'x"y' } }), { code: 'CONFIG_INVALID' })
  t.end()
})

const CONFIG = `max-sigterm-delay: 20s
endpoints:
  - name: orders
    rds-endpoint: orders.abc.eu-west-1.rds.amazonaws.com
    listen: 127.0.0.1:0
`

interface Fake extends Machine {
  ran: string[]
  /** configuration files of proxies that were asked to stop */
  stopped: string[]
  printed(): string
  call(...words: string[]): Promise<number | undefined>
}

/** A machine with its own home directory. Its service manager answers with `answer`. */
async function fakeMachine(
  t: Test,
  platform: NodeJS.Platform,
  answer: (line: string) => Ended = () => ({ code: 0, output: '' }),
  config: string | undefined = CONFIG,
): Promise<Fake> {
  const home = t.testdir({})
  const environment =
    platform === 'win32'
      ? { USERPROFILE: home, LOCALAPPDATA: join(home, 'local'), APPDATA: home, AWS_PROFILE: 'dev' }
      : { HOME: home, AWS_PROFILE: 'dev' }
  if (config !== undefined) await writeFile(join(home, 'config.yaml'), config, { mode: 0o600 })
  const printed: string[] = []
  const ran: string[] = []
  const stopped: string[] = []
  const itsConfig = join(home, 'config.yaml')
  const machine: Fake = {
    platform,
    environment,
    user: { name: 'ada', uid: 1000 },
    process: {
      execPath: '/usr/bin/node',
      execArgv: [],
      script: '/opt/x.js',
      realPath: path => (path.includes('/systemd/system/') ? undefined : path),
    },
    // The directory of this test may be in a home directory, or a temporary one.
    hiddenKind: path => hiddenKind(path.replace(home, '/etc')),
    clock: createTestClock(),
    async stopProxies(isMeant) {
      stopped.push(...[itsConfig, '/another/config.yaml'].filter(isMeant))
    },
    async run(words) {
      ran.push(words.join(' '))
      return answer(words.join(' '))
    },
    ran,
    stopped,
    printed: () => printed.join('\n'),
    call(...words) {
      const flags: Record<string, string | boolean | string[]> = { config: join(home, 'config.yaml') }
      const plain = words.filter(word => !word.startsWith('--'))
      for (const word of words.filter(word => word.startsWith('--'))) {
        const [name, value] = word.slice(2).split('=') as [string, string?]
        flags[name] = name === 'keep-env' ? [value!] : (value ?? true)
      }
      const print = (text: string) => void printed.push(text)
      return service({ flags, words: plain, environment, print }, machine)
    },
  }
  return machine
}

for (const platform of ['linux', 'darwin', 'win32'] as const) {
  test(`${platform}: --dry-run writes and runs nothing; uninstall undoes install`, async t => {
    const machine = await fakeMachine(t, platform)
    const { call, ran, printed } = machine
    await call('install', '--dry-run')
    t.match(printed(), /^Would write \S+:\n\n {2}\S/)
    t.match(printed(), /\nWould run:\n\n {2}(systemctl|launchctl|schtasks)/)
    t.match(printed(), WRITTEN_BY)
    t.same(ran, [])
    await t.rejects(call('status'), {
      code: 'CONFIG_INVALID',
      message: /is not installed; run mysql-iam-proxy service/,
    })

    await call('install', '--keep-env=AWS_PROFILE')
    const files = [...printed().matchAll(/^Would write (.+):$/gm)].map(([, path]) => path!)
    t.equal(files.length, platform === 'win32' ? 2 : 1)
    for (const path of files) t.ok(existsSync(path), path)
    const written = await readFile(files[0]!, 'utf8')
    t.match(written, /AWS_PROFILE/)
    t.match(written, join(machine.environment[platform === 'win32' ? 'USERPROFILE' : 'HOME']!, 'config.yaml'))
    t.notMatch(printed(), 'Your shell sets')
    if (platform === 'win32') t.same([...(await readFile(files[1]!)).subarray(0, 4)], [0xff, 0xfe, 0x3c, 0])
    t.match(printed(), 'Installed and started')

    ran.length = 0
    t.equal(await call('status'), 0)
    t.equal(await call('logs', '--follow'), 0)
    t.equal(ran.length, 2)
    await call('install')
    t.match(printed(), 'Your shell sets AWS_PROFILE, and the service does not get them')

    ran.length = 0
    await call('uninstall', '--dry-run')
    t.same(ran, [])
    for (const path of files) t.ok(existsSync(path), path)
    await call('uninstall')
    t.ok(ran.length > 0)
    const config = join(machine.environment[platform === 'win32' ? 'USERPROFILE' : 'HOME']!, 'config.yaml')
    t.same(machine.stopped, platform === 'win32' ? [config, config] : [], 'by the second install and by uninstall')
    for (const path of files) t.notOk(existsSync(path), path)
    await call('uninstall')
    t.match(printed(), /Nothing to remove: .* is not installed\.$/)
  })
}

test('a first install that fails leaves nothing behind, and says what the manager said', async t => {
  const answer = (line: string) =>
    line.includes(' restart ') ? { code: 1, output: 'Job failed.\n  See logs.\n' } : { code: 0, output: '' }
  const { call, ran, environment } = await fakeMachine(t, 'linux', answer)
  await t.rejects(call('install'), {
    code: 'SERVICE_FAILED',
    message: 'systemctl --user restart mysql-iam-proxy.service: exit code 1: Job failed.; See logs',
  })
  t.notOk(existsSync(join(environment['HOME']!, '.config/systemd/user/mysql-iam-proxy.service')))
  t.same(ran.slice(-3), [
    'systemctl --user disable --now mysql-iam-proxy.service',
    'systemctl --user daemon-reload',
    'systemctl --user reset-failed mysql-iam-proxy.service',
  ])
})

test('an install that fails over an older one brings the older one back', async t => {
  let isBroken = false
  const { call, ran, environment } = await fakeMachine(t, 'linux', () => ({ code: isBroken ? 1 : 0, output: '' }))
  await call('install')
  const path = join(environment['HOME']!, '.config/systemd/user/mysql-iam-proxy.service')
  const before = await readFile(path, 'utf8')
  isBroken = true
  await t.rejects(call('install', '--keep-env=AWS_PROFILE'), { code: 'SERVICE_FAILED' })
  t.equal(await readFile(path, 'utf8'), before)
  t.equal(ran.at(-1), 'systemctl --user restart mysql-iam-proxy.service')
})

test('launchd: bootstrap is tried again while the agent before ends', async t => {
  let failures = 2
  const { call, ran, clock } = await fakeMachine(t, 'darwin', line =>
    line.includes(' bootstrap ') && failures-- > 0
      ? { code: 5, output: 'Input/output error' }
      : { code: 0, output: '' },
  )
  const installed = call('install')
  const tick = setInterval(() => (clock as ReturnType<typeof createTestClock>).advance(500), 1)
  await installed
  clearInterval(tick)
  t.equal(ran.filter(line => line.includes(' bootstrap ')).length, 3)
})

test('without the service manager, the error names its program', async t => {
  const { call } = await fakeMachine(t, 'linux', () => ({ code: undefined, output: '' }))
  await t.rejects(call('install'), {
    code: 'SERVICE_FAILED',
    message: 'systemctl --user daemon-reload: there is no such program',
  })
})

test('install refuses what would not work in a service', async t => {
  const refused = async (config: string | undefined, message: RegExp, ...flags: string[]) => {
    const { call, ran } = await fakeMachine(t, 'linux', undefined, config)
    await t.rejects(call('install', ...flags), { code: 'CONFIG_INVALID', message })
    t.same(ran, [])
  }
  await refused(`${CONFIG}    rds-endpoint: again\n`, /config\.yaml/)
  await refused(CONFIG.replace('127.0.0.1:0', 'systemd'), /listen: systemd needs a socket unit/)
  await refused(`${CONFIG}    bundle-cache: caches\n`, /caches: a service has another working directory/)
  await refused(CONFIG, /^--keep-env: MISSING is not set$/, '--keep-env=MISSING')
  await refused(CONFIG, /^--system: needs root/, '--system')
  const missing = await fakeMachine(t, 'linux')
  await t.rejects(missing.call('install', '--config=/nowhere/c.yaml'), {
    code: 'CONFIG_INVALID',
    message: '/nowhere/c.yaml does not exist; add a database with mysql-iam-proxy add, or name a file with --config',
  })
  for (const platform of ['darwin', 'win32'] as const) {
    const { call } = await fakeMachine(t, platform)
    await t.rejects(call('install', '--system'), { code: 'CONFIG_INVALID', message: /^--system: only with systemd/ })
  }
  const { call } = await fakeMachine(t, 'freebsd')
  await t.rejects(call('install'), { code: 'CONFIG_INVALID', message: /^service: unsupported on freebsd/ })
})

test('a first install refuses addresses in use; a second one finds its own service there', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const { call, ran } = await fakeMachine(t, 'linux', undefined, CONFIG.replace(':0', `:${port}`))
  await t.rejects(call('install'), {
    code: 'CONFIG_INVALID',
    message: new RegExp(`127\\.0\\.0\\.1:${port} is in use, perhaps by the running proxy\\. Stop that program first`),
  })
  t.same(ran, [])
  await call('install', '--dry-run')
  await new Promise(resolve => server.close(resolve))
  await call('install')
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  await call('install')
})

test('--system: a file that only root reads and a program in a home directory are refused', async t => {
  const machine = await fakeMachine(t, 'linux')
  machine.user.uid = 0
  const config = join(machine.environment['HOME']!, 'config.yaml')
  await t.rejects(machine.call('install', '--system', '--dry-run'), { message: /cannot read it; run chmod 644 on it/ })
  await chmod(config, 0o644)
  machine.process.execPath = '/home/ada/.nvm/node'
  await t.rejects(machine.call('install', '--system', '--dry-run'), {
    message: /\/home\/ada\/\.nvm\/node is in a home/,
  })
  for (const path of ['/tmp/node', '/var/tmp/node']) {
    machine.process.execPath = path
    await t.rejects(machine.call('install', '--system', '--dry-run'), {
      message: new RegExp(`${path} is in a temporary directory, which a system service does not see`),
    })
  }
  machine.process.execPath = '/usr/bin/node'
  const { realPath } = machine.process
  machine.process.realPath = path => (path.startsWith('/lib/systemd/system/') ? path : undefined)
  await t.rejects(machine.call('install', '--system', '--dry-run'), {
    message: /a package has installed \/lib\/systemd\/system\/mysql-iam-proxy\.service; run systemctl enable --now/,
  })
  machine.process.realPath = realPath
  await machine.call('install', '--system', '--dry-run')
  t.match(machine.printed(), 'Would write /etc/systemd/system/mysql-iam-proxy.service:')
  t.match(machine.printed(), '  systemctl enable mysql-iam-proxy.service\n')
})

test('a file that somebody else has written stays', async t => {
  const { call, environment } = await fakeMachine(t, 'linux')
  const folder = join(environment['HOME']!, '.config/systemd/user')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'mysql-iam-proxy.service'), '[Service]\nExecStart=/bin/true\n')
  for (const what of ['install', 'uninstall', 'status', 'logs']) {
    await t.rejects(call(what), {
      code: 'CONFIG_INVALID',
      message: /mysql-iam-proxy\.service exists, and was not written by service install$/,
    })
  }
  await mkdir(join(environment['HOME']!, 'other/systemd/user/mysql-iam-proxy.service'), { recursive: true })
  environment['XDG_CONFIG_HOME'] = join(environment['HOME']!, 'other')
  await t.rejects(call('install'), { code: 'CONFIG_INVALID', message: /mysql-iam-proxy\.service: EISDIR$/ })
})

test('files that cannot be written are an error of the service', async t => {
  const { call, environment } = await fakeMachine(t, 'linux')
  await writeFile(join(environment['HOME']!, '.config'), 'a file, not a folder')
  await t.rejects(call('install'), { code: 'SERVICE_FAILED', message: /^cannot write .*: (EEXIST|ENOTDIR)$/ })
})

test('the program runs the real commands of the machine', async t => {
  if (process.platform !== 'linux') return
  const home = t.testdir({ 'config.yaml': CONFIG, bin: {} })
  const log = join(home, 'ran')
  await writeFile(join(home, 'bin/systemctl'), `#!/bin/sh\necho "$@" >>'${log}'\necho from-systemctl\n`, {
    mode: 0o755,
  })
  const [command, ...first] = PROGRAM
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_|XDG_)/.test(name))
  const env = { ...Object.fromEntries(inherited), HOME: home, PATH: `${home}/bin:${process.env['PATH']}` }
  const call = (...words: string[]) =>
    promisify(execFile)(command, [...first, 'service', ...words, '--config', join(home, 'config.yaml')], { env })
  t.match((await call('install')).stdout, 'Installed and started the systemd user unit')
  const unit = await readFile(join(home, '.config/systemd/user/mysql-iam-proxy.service'), 'utf8')
  t.match(unit, `ExecStart="${process.execPath}" `)
  t.match((await call('status')).stdout, 'from-systemctl')
  await call('uninstall')
  t.same((await readFile(log, 'utf8')).trimEnd().split('\n'), [
    '--user daemon-reload',
    '--user enable mysql-iam-proxy.service',
    '--user restart mysql-iam-proxy.service',
    '--user status --no-pager mysql-iam-proxy.service',
    '--user disable --now mysql-iam-proxy.service',
    '--user daemon-reload',
    '--user reset-failed mysql-iam-proxy.service',
  ])
  await writeFile(join(home, 'bin/systemctl'), '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 })
  await t.rejects(call('install'), { code: 1, stderr: /daemon-reload: exit code 1/ })
})
