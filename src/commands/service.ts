/** `mysql-iam-proxy service install|uninstall|status|logs`: the proxy in the background, from the next login on. */
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, resolve } from 'node:path'
import { wait } from '../clock.ts'
import { defaultConfigFile } from '../config/default-file.ts'
import { type Config, loadConfig } from '../config/load.ts'
import { optionNames, optionSpec } from '../config/options.ts'
import { resolveSettings, type Settings } from '../config/settings.ts'
import { readIfExists } from '../config/write-file.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { silent } from '../log.ts'
import { shellLine } from '../shell-quote.ts'
import { addressProblems, checkConfig } from './check-config.ts'
import type { Invocation } from './command.ts'
import { launchdPlan } from './service-launchd.ts'
import { type Machine, thisMachine } from './service-machine.ts'
import {
  SERVICE_NAME,
  type ServiceContext,
  type ServiceFile,
  type ServicePlan,
  type ServiceStep,
  WRITTEN_BY,
} from './service-plan.ts'
import { type CarriedEnvironment, carriedEnvironment, homeOfService, programOfService } from './service-program.ts'
import { systemdSystemPlan, systemdUserPlan } from './service-systemd.ts'
import { windowsPlan } from './service-windows.ts'

/** Resolves with the exit code; undefined: 0. @throws ProxyError CONFIG_INVALID, SERVICE_FAILED */
export async function service(
  { flags, words, environment, print }: Pick<Invocation, 'flags' | 'words' | 'environment' | 'print'>,
  machine: Machine = thisMachine(environment),
): Promise<number | undefined> {
  const settings = resolveSettings(flags, environment)
  switch (words[0]) {
    case 'install':
      await install(settings, machine, print)
      return undefined
    case 'uninstall':
      await uninstall(planOf(settings, machine), settings, machine, print)
      return undefined
    case 'status':
      return await show(planOf(settings, machine), plan => plan.status, machine)
    default:
      return await show(planOf(settings, machine), plan => plan.logs(settings.follow), machine)
  }
}

async function install(settings: Settings, machine: Machine, print: (text: string) => void): Promise<void> {
  const { environment, platform } = machine
  const previous = await readFiles(planOf(settings, machine))
  if (settings.system) refusePackage(machine)
  const carried = carriedEnvironment(settings['keep-env'], environment)
  const config = await configOf(settings, machine)
  const read = await loadConfig({ config }, [], ofService(carried, environment))
  const inUse: string[] = []
  await checkConfig(read, silent, async () => [
    ...(await problemsOfService(read, settings, config)),
    // A service that runs already uses its addresses itself.
    ...(previous.size === 0 ? await addressProblems(read, message => void inUse.push(message)) : []),
  ])
  if (inUse.length > 0 && !settings['dry-run']) {
    throw invalid(`${inUse.join('; ')}. Stop that program first, for example with mysql-iam-proxy stop`)
  }
  const program = programOfService(machine.process)
  if (settings.system) refuseHidden([...program, config], machine)
  const drainMs = read.settings['max-sigterm-delay']
  const plan = planOf(settings, machine, { program, config, drainMs, environment: carried.kept })
  if (settings['dry-run']) {
    print(planText('Would write', plan.files, 'Would run', plan.start, platform))
    return
  }
  await stopBefore(plan, previous, machine)
  try {
    for (const file of plan.files) await writeServiceFile(file)
    await runSteps(plan.start, machine)
  } catch (error) {
    await restore(plan, previous, machine)
    throw error
  }
  const files = plan.files.map(({ path }) => `  ${path}`)
  print([`Installed and started ${plan.name}, which serves ${config}:`, '', ...files].join('\n'))
  const left = carried.left.length > 0 ? [notCarried(carried.left)] : []
  print(['', ...plan.notes, ...left, 'Its state: mysql-iam-proxy service status'].join('\n'))
}

async function uninstall(
  plan: ServicePlan,
  settings: Settings,
  machine: Machine,
  print: (text: string) => void,
): Promise<void> {
  const present = await readFiles(plan)
  if (present.size === 0) {
    print(`Nothing to remove: ${plan.name} is not installed.`)
    return
  }
  const paths = [...present.keys(), ...plan.writes]
  if (settings['dry-run']) {
    const removals = paths.map(path => `  ${path}`)
    const commands = [...plan.stop, ...plan.forget].map(({ words }) => `  ${shellLine(words, machine.platform)}`)
    print(['Would run:', '', ...commands, '', 'Would remove:', '', ...removals].join('\n'))
    return
  }
  await stopBefore(plan, present, machine)
  await runSteps(plan.stop, machine)
  for (const path of paths) await rm(path, { force: true })
  await runSteps(plan.forget, machine)
  print([`Stopped and removed ${plan.name}:`, '', ...[...present.keys()].map(path => `  ${path}`)].join('\n'))
}

/** Runs a command that shows something of the service. */
async function show(
  plan: ServicePlan,
  wordsOf: (plan: ServicePlan) => readonly string[],
  machine: Machine,
): Promise<number> {
  if ((await readFiles(plan)).size === 0) {
    throw invalid(`${plan.name} is not installed; run mysql-iam-proxy service install`)
  }
  const words = wordsOf(plan)
  const { code } = await machine.run(words, true)
  if (code === undefined) throw new ProxyError('SERVICE_FAILED', `${words[0]}: there is no such program`)
  return code
}

/** @param parts what only install knows */
function planOf(
  settings: Settings,
  machine: Machine,
  parts: Pick<ServiceContext, 'program' | 'config' | 'drainMs' | 'environment'> = {
    program: [],
    config: '',
    drainMs: 0,
    environment: {},
  },
): ServicePlan {
  const { platform, environment, user } = machine
  if (settings.system) {
    if (platform !== 'linux') {
      throw invalid('--system: only with systemd; here, the service belongs to your user and starts when you log in')
    }
    if (user.uid !== 0) throw invalid('--system: needs root; without it, the service belongs to your user')
    return systemdSystemPlan({ ...parts, home: { home: '', config: '', local: '' }, user })
  }
  const context = { ...parts, home: homeOfService(environment, platform), user }
  switch (platform) {
    case 'linux':
      return systemdUserPlan(context)
    case 'darwin':
      return launchdPlan(context)
    case 'win32':
      return windowsPlan(context)
    default:
      throw invalid(
        `service: unsupported on ${platform}; it works with systemd, launchd and the Task Scheduler of Windows`,
      )
  }
}

/** The file that the service serves, absolute. @throws ProxyError CONFIG_INVALID if there is none */
async function configOf({ config, system }: Settings, { environment, platform }: Machine): Promise<string> {
  const standard = system ? '/etc/mysql-iam-proxy/config.yaml' : defaultConfigFile(environment, platform)
  const path = config === undefined ? standard : resolve(config)
  if (path === undefined) throw invalid('service install: --config is missing')
  if ((await readIfExists(path)) === undefined) {
    throw invalid(`${path} does not exist; add a database with mysql-iam-proxy add, or name a file with --config`)
  }
  return path
}

/** The variables that count for the options when the service starts. */
function ofService({ kept }: CarriedEnvironment, { HOME, USERPROFILE, APPDATA }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { HOME, USERPROFILE, APPDATA, ...kept }
}

/** What works in a shell, and not in a service. */
async function problemsOfService(read: Config, { system }: Settings, config: string): Promise<string[]> {
  const { endpoints, settings } = read
  const files = optionNames.filter(
    name => /^(FILE|FOLDER)$/.test(optionSpec(name).placeholder ?? '') && name !== 'config',
  )
  const values = [settings, ...endpoints.map(endpoint => endpoint.settings)].flatMap(one =>
    files.flatMap(name => (one[name] ?? []) as string | string[]),
  )
  const ofUsers = endpoints.flatMap(({ localUsers }) => localUsers.flatMap(({ passwordFile }) => passwordFile ?? []))
  const relative = [...new Set([...values, ...ofUsers])].filter(path => !isAbsolute(path))
  const problems = relative.map(
    path => `${path}: a service has another working directory; write the path from the root on`,
  )
  const activated = endpoints.find(endpoint => endpoint.settings.listen.startsWith('systemd'))
  if (activated) {
    problems.push(
      `listen: ${activated.settings.listen} needs a socket unit, which service install does not write; see examples/systemd`,
    )
  }
  if (system && !(await isReadableByAll(config))) {
    problems.push(`${config}: the service runs as another user, which cannot read it; run chmod 644 on it`)
  }
  return problems
}

async function isReadableByAll(path: string): Promise<boolean> {
  return ((await stat(path)).mode & 0o004) !== 0
}

/** The unit of a .deb or .rpm, which a unit in /etc would hide. */
function refusePackage({ process: { realPath } }: Machine): void {
  const unit = ['/usr/lib', '/lib'].map(folder => `${folder}/systemd/system/${SERVICE_NAME}.service`).find(realPath)
  if (unit) throw invalid(`--system: a package has installed ${unit}; run systemctl enable --now ${SERVICE_NAME}`)
}

/** A service of the system sees no home directories, and has its own temporary ones. */
function refuseHidden(paths: readonly string[], { hiddenKind }: Machine): void {
  const [found, kind] = paths.map(path => [path, hiddenKind(path)] as const).find(([, kind]) => kind) ?? []
  if (found) throw invalid(`--system: ${found} is in a ${kind} directory, which a system service does not see`)
}

/** The files of the plan that exist. @throws ProxyError CONFIG_INVALID if one of them is not ours */
async function readFiles(plan: ServicePlan): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for (const { path, encoding } of plan.files) {
    const content = await readFile(path).catch(error => {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
      throw invalid(`${path}: ${systemCode(error)}`)
    })
    if (!content) continue
    if (!content.toString(encoding === 'utf16' ? 'utf16le' : 'utf8').includes(WRITTEN_BY)) {
      throw invalid(`${path} exists, and was not written by service install`)
    }
    found.set(path, content)
  }
  return found
}

/** @throws ProxyError SERVICE_FAILED */
async function writeServiceFile({ path, text, mode, encoding }: ServiceFile): Promise<void> {
  const content = encoding === 'utf16' ? Buffer.from(`\uFEFF${text}`, 'utf16le') : Buffer.from(text)
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content, { mode })
    await chmod(path, mode)
  } catch (cause) {
    throw new ProxyError('SERVICE_FAILED', `cannot write ${path}: ${systemCode(cause)}`, { cause })
  }
}

/** Lets the sessions of an installed service finish their transactions, where its manager would not. */
async function stopBefore({ killsOnly }: ServicePlan, files: Map<string, Buffer>, machine: Machine): Promise<void> {
  if (!killsOnly || files.size === 0) return
  const texts = [...files.values()].map(content => content.toString())
  // Its own files name the configuration, with percent signs doubled.
  await machine.stopProxies(config => texts.some(text => text.includes(`"${config.replaceAll('%', '%%')}"`)))
}

/** After a failed install: as it was before, as far as that works. */
async function restore(plan: ServicePlan, previous: Map<string, Buffer>, machine: Machine): Promise<void> {
  const attempt = async (steps: readonly ServiceStep[]) => {
    await runSteps(
      steps.map(({ words }) => ({ words, mayFail: true })),
      machine,
    )
  }
  if (previous.size === 0) await attempt(plan.stop)
  for (const { path } of plan.files) {
    const content = previous.get(path)
    await (content ? writeFile(path, content) : rm(path, { force: true })).catch(() => {})
  }
  await attempt(previous.size === 0 ? plan.forget : plan.start)
}

const RETRY_INTERVAL_MS = 500

/** @throws ProxyError SERVICE_FAILED, with what the command said */
async function runSteps(steps: readonly ServiceStep[], { run, clock, platform }: Machine): Promise<void> {
  for (const { words, mayFail, retryMs = 0 } of steps) {
    const deadline = clock.now() + retryMs
    for (;;) {
      const { code, output } = await run(words, false)
      if (code === 0 || mayFail) break
      if (code !== undefined && clock.now() < deadline) {
        await wait(clock, RETRY_INTERVAL_MS)
        continue
      }
      const how = code === undefined ? 'there is no such program' : `exit code ${code}`
      const said = output.trim().replace(/\s*\n\s*/g, '; ')
      throw new ProxyError('SERVICE_FAILED', `${shellLine(words, platform)}: ${how}${said ? `: ${said}` : ''}`)
    }
  }
}

function planText(
  written: string,
  files: readonly ServiceFile[],
  ran: string,
  steps: readonly ServiceStep[],
  platform: NodeJS.Platform,
): string {
  const indented = (text: string) =>
    text
      .trimEnd()
      .replaceAll('\r\n', '\n')
      .replace(/^(?=.)/gm, '  ')
  const commands = steps.map(({ words }) => `  ${shellLine(words, platform)}`)
  return [
    ...files.flatMap(({ path, text }) => [`${written} ${path}:`, '', indented(text), '']),
    `${ran}:`,
    '',
    ...commands,
  ].join('\n')
}

function notCarried(names: readonly string[]): string {
  const flags = names.map(name => `--keep-env ${name}`).join(' ')
  return `Your shell sets ${names.join(', ')}, and the service does not get them. To carry them over, install it again with ${flags}.`
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
