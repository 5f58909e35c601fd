/** `mysql-iam-proxy`: serves until a signal stops it. */
import { resolve } from 'node:path'
import { type Config, loadConfig } from '../config/load.ts'
import type { Settings } from '../config/settings.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { returnIdleMemory } from '../idle-memory.ts'
import { type Logger, silent } from '../log.ts'
import { openLogSink } from '../log-sink.ts'
import { type Control, openControl } from '../net/control.ts'
import { controlFolders } from '../net/control-place.ts'
import { inherit, takeInherited } from '../net/listeners.ts'
import { createLogger } from '../program-log.ts'
import { logReloadFailure, type Service, startService } from '../service.ts'
import { reloadsOnHangup } from '../signals.ts'
import { createNotifier } from '../systemd.ts'
import { packageVersion } from '../version.ts'
import { checkConfig } from './check-config.ts'
import { type OwnCommand, ownCommand } from './own-command.ts'
import { connectPredecessor, type Predecessor } from './predecessor.ts'
import { startAdminAsSet } from './start-admin.ts'
import { startSignInAsSet } from './start-sign-in.ts'
import { startTracesAsSet } from './start-traces.ts'
import type { Successor } from './successor.ts'
import { countSessions, drain, logUpgradeFailure, upgrade, warmUp } from './upgrade-process.ts'

/**
 * Resolves when the proxy has stopped.
 * @param endpoints from the command line
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function run(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  stop: AbortSignal,
): Promise<Config> {
  const own = ownCommand() // before an update replaces the files
  const predecessor = await connectPredecessor()
  inherit(predecessor)
  try {
    return await serve(flags, endpoints, stop, own, predecessor)
  } catch (error) {
    await predecessor?.failed(asProxyError(error))
    throw error
  }
}

async function serve(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  stop: AbortSignal,
  own: OwnCommand,
  predecessor: Predecessor | undefined,
): Promise<Config> {
  const readConfig = async () => {
    const config = await loadConfig(flags, endpoints, process.env)
    await checkConfig(config, silent) // the endpoints log their warnings when they start
    return config
  }
  const config = await readConfig()
  const { settings } = config
  const log = await createLogger(settings['log-level'], settings['log-format'])
  logDefaultFile(config, log)
  const traces = await startTracesAsSet(process.env, log)
  const signIn = await startSignInAsSet(settings['sign-in'], log)
  const quit = new AbortController()
  const end = AbortSignal.any([stop, quit.signal])
  let service: Service | undefined
  const admin = await startAdminAsSet(
    settings,
    {
      endpoints: () => service?.states() ?? [],
      isStarted: () => service !== undefined,
      isStopping: () => end.aborted,
      drainingSessions: predecessor?.sessions,
      onQuit: settings.quitquitquit ? () => quit.abort() : undefined,
    },
    log,
    config.names,
  )
  // A signal right behind the line "listening" must not end the process, nor one that comes after an upgrade.
  const wanted = { reload: false, upgrade: false }
  const noteReload = () => {
    wanted.reload = true
  }
  const noteUpgrade = () => {
    wanted.upgrade = true
  }
  if (reloadsOnHangup(process.stdout.isTTY)) process.on('SIGHUP', noteReload)
  process.on('SIGUSR2', noteUpgrade)
  const stopReturning = returnIdleMemory()
  try {
    service = await startService(config, log, traces?.tracerOf, signIn)
    if (showsLines(settings, process.stdout.isTTY, process.env)) await printLines(service)
    admin?.watchAll()
    if (predecessor) await warmUp(service)
    if (predecessor && end.aborted) throw new ProxyError('UPGRADE_FAILED', 'a signal stopped the new process')
    await takeInherited()
    if (predecessor) log.info({ previous: predecessor.pid }, 'took over from the previous process')
    const controlled = {
      config: fileOf(config),
      drainMs: settings['max-sigterm-delay'],
      stop: () => quit.abort(),
      upgrade: () => upgrade(own, end, log),
    }
    const successor = await serveUntil(
      end,
      service,
      readConfig,
      () => admin?.watchAll(),
      log,
      wanted,
      controlled,
      predecessor,
    )
    signIn?.close()
    if (successor) {
      service.retire()
      await admin?.close()
      await drain(successor, predecessor, service, end, log)
    }
    const sessions = countSessions(service)
    if (successor && sessions === 0) log.info({}, 'no session is left in this process')
    else log.info({ sessions, delayMs: settings['max-sigterm-delay'] }, 'stopping')
    predecessor?.stop()
    await service.stop(settings['max-sigterm-delay'])
    return config
  } finally {
    stopReturning()
    process.off('SIGHUP', noteReload)
    process.off('SIGUSR2', noteUpgrade)
    signIn?.close()
    await Promise.all([admin?.close(), traces?.close()])
  }
}

/** Nobody names this file on a command line, so the log says that it counts, or why it does not. */
function logDefaultFile({ defaultFile }: Config, log: Logger): void {
  if (!defaultFile) return
  const { path, unusedBecause, othersMayWrite } = defaultFile
  if (unusedBecause !== undefined) {
    log.info({ file: path }, `${path} is not read, because ${unusedBecause} is given`)
    return
  }
  log.info({ file: path }, `serves the endpoints in ${path}`)
  if (othersMayWrite) log.warn({ file: path }, `${path}: other users can write it; use chmod 600`)
}

/** Whether a person reads along: the lines stand where the log is for people, and has the line "listening". */
export function showsLines(
  settings: Pick<Settings, 'log-format' | 'log-level'>,
  isTerminal: boolean,
  environment: NodeJS.ProcessEnv,
): boolean {
  const isLogged = settings['log-level'] === 'info' || settings['log-level'] === 'debug'
  return isTerminal && isLogged && settings['log-format'] !== 'json' && !environment.NOTIFY_SOCKET
}

async function printLines(service: Service): Promise<void> {
  const { connectionBlock } = await import('../connection-lines.ts')
  const blocks = service.connections().map(connection => connectionBlock(connection, process.platform))
  openLogSink(1, () => {}).write(`\n${blocks.join('\n\n')}\n\n`) // does not block on a terminal that was stopped with Ctrl-S
}

/** Absolute, for people in another directory; null without a file. */
function fileOf({ settings, defaultFile }: Config): string | null {
  const path = defaultFile && defaultFile.unusedBecause === undefined ? defaultFile.path : settings.config
  return path === undefined ? null : resolve(path)
}

/** What signals and the control channel need besides the service. */
interface Controlled {
  config: string | null
  drainMs: number
  stop(): void
  upgrade(): Promise<Successor>
}

/**
 * Reports to systemd, reads the configuration again at each SIGHUP and for `mysql-iam-proxy reload`, and resolves with the process
 * that replaces this one at SIGUSR2 or for `mysql-iam-proxy upgrade`; with undefined if `end` comes first.
 */
async function serveUntil(
  end: AbortSignal,
  service: Service,
  readConfig: () => Promise<Config>,
  onReloaded: () => void,
  log: Logger,
  wanted: { reload: boolean; upgrade: boolean },
  controlled: Controlled,
  predecessor: Predecessor | undefined,
): Promise<Successor | undefined> {
  const notifier = createNotifier(process.env)
  const replaced = new AbortController()
  let successor: Successor | undefined
  // In sequence: a second reload starts from the result of the first.
  let changing: Promise<unknown> = Promise.resolve()
  const change = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const done = changing.then(async () => {
      if (successor) throw new ProxyError('UPGRADE_FAILED', `process ${successor.pid} has replaced this one`)
      await notifier.reloading()
      try {
        return await work()
      } finally {
        if (!successor) void notifier.ready() // else the new process says so
      }
    })
    changing = done.catch(() => {})
    return done
  }
  const reload = () =>
    change(async () => {
      try {
        await service.reload(await readConfig())
        onReloaded()
        log.info({}, 'configuration read again')
      } catch (error) {
        logReloadFailure(error, log)
        throw error
      }
    })
  let replacing: Promise<number> | undefined
  // Two requests at the same time want the same upgrade.
  const replace = () => {
    replacing ??= replaceOnce().finally(() => {
      replacing = undefined
    })
    return replacing
  }
  const replaceOnce = () =>
    change(async () => {
      try {
        successor = await controlled.upgrade()
        notifier.replaced()
        replaced.abort()
        return successor.pid
      } catch (error) {
        logUpgradeFailure(error, log)
        throw error
      }
    })
  const onReload = () => void reload().catch(() => {})
  const onUpgrade = () => void replace().catch(() => {})
  if (reloadsOnHangup(process.stdout.isTTY)) process.on('SIGHUP', onReload)
  process.on('SIGUSR2', onUpgrade)
  const control = await openControlFor(controlled, service, reload, replace, log)
  const told = notifier.ready()
  if (predecessor) {
    // The previous process may exit as soon as it knows, and systemd would end the service with its main process.
    await told
    predecessor.ready()
  }
  if (wanted.reload) onReload()
  if (wanted.upgrade) onUpgrade()
  const over = AbortSignal.any([end, replaced.signal])
  if (!over.aborted) await new Promise(resolve => over.addEventListener('abort', resolve, { once: true }))
  process.off('SIGHUP', onReload)
  process.off('SIGUSR2', onUpgrade)
  await control?.close()
  await changing

  if (!successor) notifier.stopping()
  return successor
}

/** A proxy without a folder for its channel, as in a read-only container, serves as well: it has its signals. */
async function openControlFor(
  { config, drainMs, stop }: Controlled,
  service: Service,
  reload: () => Promise<void>,
  upgrade: () => Promise<number>,
  log: Logger,
): Promise<Control | undefined> {
  const status = () => {
    const states = service.states()
    const sessions = countSessions(service)
    const listen = [...new Set(states.map(({ address }) => address))]
    return { pid: process.pid, version: packageVersion(), config, listen, sessions, drainMs }
  }
  try {
    const control = await openControl(controlFolders(process.env), { status, reload, upgrade, stop })
    log.debug({ file: control.address }, 'control channel for mysql-iam-proxy reload, upgrade and stop')
    return control
  } catch (error) {
    log.debug({}, `no control channel: ${(error as Error).message}`)
    return undefined
  }
}
