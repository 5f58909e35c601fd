/** `mysql-iam-proxy`: serves until a signal stops it. */
import { resolve } from 'node:path'
import { type Config, loadConfig } from '../config/load.ts'
import type { Settings } from '../config/settings.ts'
import { createLogger, type Logger, silent } from '../log.ts'
import { openLogSink } from '../log-sink.ts'
import { type Control, openControl } from '../net/control.ts'
import { controlFolders } from '../net/control-place.ts'
import { logReloadFailure, type Service, startService } from '../service.ts'
import { reloadsOnHangup } from '../signals.ts'
import { createNotifier } from '../systemd.ts'
import { packageVersion } from '../version.ts'
import { checkConfig } from './check-config.ts'
import { startAdminAsSet } from './start-admin.ts'
import { startSignInAsSet } from './start-sign-in.ts'
import { startTracesAsSet } from './start-traces.ts'

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
      onQuit: settings.quitquitquit ? () => quit.abort() : undefined,
    },
    log,
    config.names,
  )
  // A SIGHUP right behind the line "listening" must not end the process.
  let isReloadWanted = false
  const noteReload = () => {
    isReloadWanted = true
  }
  if (reloadsOnHangup(process.stdout.isTTY)) process.on('SIGHUP', noteReload)
  try {
    service = await startService(config, log, traces?.tracerOf, signIn)
    if (showsLines(settings, process.stdout.isTTY, process.env)) await printLines(service)
    admin?.watchAll()
    await serveUntil(
      end,
      service,
      readConfig,
      () => admin?.watchAll(),
      log,
      () => isReloadWanted,
      { config: fileOf(config), drainMs: settings['max-sigterm-delay'], stop: () => quit.abort() },
    )
    const sessions = service.states().reduce((sum, state) => sum + state.sessions.size, 0)
    log.info({ sessions, delayMs: settings['max-sigterm-delay'] }, 'stopping')
    signIn?.close()
    await service.stop(settings['max-sigterm-delay'])
    return config
  } finally {
    process.off('SIGHUP', noteReload)
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

/** What the control channel needs besides the service. */
interface Controlled {
  config: string | null
  drainMs: number
  stop(): void
}

/** Reports to systemd, and reads the configuration again at each SIGHUP and for `mysql-iam-proxy reload`. */
async function serveUntil(
  end: AbortSignal,
  service: Service,
  readConfig: () => Promise<Config>,
  onReloaded: () => void,
  log: Logger,
  isReloadWanted: () => boolean,
  controlled: Controlled,
): Promise<void> {
  const notifier = createNotifier(process.env)
  notifier.ready()

  // In sequence: a second reload starts from the result of the first.
  let reloading = Promise.resolve()
  const reload = () => {
    const done = reloading.then(async () => {
      notifier.reloading()
      try {
        await service.reload(await readConfig())
        onReloaded()
        log.info({}, 'configuration read again')
      } catch (error) {
        logReloadFailure(error, log)
        throw error
      } finally {
        notifier.ready()
      }
    })
    reloading = done.catch(() => {})
    return done
  }
  const onReload = () => void reload().catch(() => {})
  if (reloadsOnHangup(process.stdout.isTTY)) process.on('SIGHUP', onReload)
  if (isReloadWanted()) onReload()
  const control = await openControlFor(controlled, service, reload, log)
  if (!end.aborted) await new Promise(resolve => end.addEventListener('abort', resolve, { once: true }))
  process.off('SIGHUP', onReload)
  await control?.close()
  await reloading

  notifier.stopping()
}

/** A proxy without a folder for its channel, as in a read-only container, serves as well: it has its signals. */
async function openControlFor(
  { config, drainMs, stop }: Controlled,
  service: Service,
  reload: () => Promise<void>,
  log: Logger,
): Promise<Control | undefined> {
  const status = () => {
    const states = service.states()
    const sessions = states.reduce((sum, state) => sum + state.sessions.size, 0)
    const listen = [...new Set(states.map(({ address }) => address))]
    return { pid: process.pid, version: packageVersion(), config, listen, sessions, drainMs }
  }
  try {
    const control = await openControl(controlFolders(process.env), { status, reload, stop })
    log.debug({ file: control.address }, 'control channel for mysql-iam-proxy reload and stop')
    return control
  } catch (error) {
    log.debug({}, `no control channel: ${(error as Error).message}`)
    return undefined
  }
}
