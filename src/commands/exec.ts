/** `mysql-iam-proxy exec -- COMMAND`: a proxy for as long as one command runs. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isatty } from 'node:tty'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { prepareEndpoints } from '../config/proxy-options.ts'
import type { Settings } from '../config/settings.ts'
import { formatHostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createLogger } from '../program-log.ts'
import { createProxy, type ProxyOptions } from '../proxy/proxy.ts'
import { forwardedSignals } from '../signals.ts'
import { withMfaCodes } from './mfa-codes.ts'

/** The one endpoint, on a free port if no address is given. @throws ProxyError CONFIG_INVALID */
export async function configure(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<{ settings: Settings; endpoint: EndpointConfig }> {
  const { settings, endpoints: found } = await loadConfig(flags, endpoints, environment, { listen: '127.0.0.1:0' })
  const [endpoint, ...others] = found
  if (!endpoint || others.length > 0) throw new ProxyError('CONFIG_INVALID', 'exec: needs exactly one endpoint')
  return { settings, endpoint }
}

/**
 * Runs `command` in `environment`, with MYSQL_HOST, MYSQL_PORT and MYSQL_SOCKET set, and with MYSQL_TCP_PORT and MYSQL_UNIX_PORT,
 * which libmysqlclient reads. Listens on a free port if no address is given. When the command ends, so does the proxy;
 * sessions of programs that the command has left behind may finish their transactions.
 * @returns the exit code of the command, or 128 + the number of the signal that ended it; undefined if a signal came
 *   before the command started
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function exec(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
  stop: AbortSignal,
): Promise<number | undefined> {
  const [program, ...args] = command
  if (!program) throw new ProxyError('CONFIG_INVALID', 'exec: needs a command after --')
  const signals = createSignalForwarding()
  const { settings, endpoint } = await configure(flags, endpoints, environment)
  // Standard output belongs to the command.
  const log = await createLogger(settings['log-level'], settings['log-format'], 2)
  const [prepared] = await prepareEndpoints([endpoint], log)
  const { options, askNow } = await withMfaCodes(prepared!.options, settings, stop)
  const problem = await askNow() // from here on, the terminal belongs to the command
  if (problem || stop.aborted) {
    signals.stop()
    if (problem && !stop.aborted) throw problem
    return undefined
  }

  const proxy = createProxy(options, endpoint.names)
  let overSocket: SocketProxy | undefined
  try {
    const { host, port, path } = await proxy.listen()
    // Clients on Windows know no unix sockets.
    if (path === undefined && process.platform !== 'win32')
      overSocket = await listenOnSocket(options, endpoint, formatHostPort({ host, port }), log)
    if (stop.aborted) return undefined
    const child = spawn(program, args, {
      stdio: 'inherit',
      env: {
        ...environment,
        ...socketVariables(path ?? overSocket?.path),
        ...(path === undefined
          ? { MYSQL_HOST: host, MYSQL_PORT: String(port), MYSQL_TCP_PORT: String(port) }
          : { MYSQL_HOST: 'localhost', MYSQL_PORT: undefined, MYSQL_TCP_PORT: undefined }),
      },
    })
    signals.forwardTo(child)
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    return code ?? 128 + constants.signals[signal!]
  } catch (error) {
    if (error instanceof ProxyError) throw error
    throw new ProxyError('CONFIG_INVALID', `exec: ${program}: ${whyNotStarted(systemCode(error))}`, { cause: error })
  } finally {
    const delay = settings['max-sigterm-delay']
    await Promise.all([proxy.close(delay), overSocket?.close(delay)])
    signals.stop()
  }
}

/** On Windows, only a shell runs scripts such as npm.cmd. https://nodejs.org/api/child_process.html#spawning-bat-and-cmd-files-on-windows */
export function whyNotStarted(code: string, platform: NodeJS.Platform = process.platform): string {
  const isScript = platform === 'win32' && (code === 'ENOENT' || code === 'EINVAL')
  return isScript ? `${code}; start a .cmd or .bat file with cmd /c` : code
}

/** Without a socket, one that another program has set must not lead clients to another database. */
function socketVariables(path: string | undefined): Record<string, string | undefined> {
  return { MYSQL_SOCKET: path, MYSQL_UNIX_PORT: path }
}

interface SocketProxy {
  path: string
  close(delay: number): Promise<void>
}

/** The same database over a unix socket in a new directory; undefined where none can be made, as on a read-only file system. */
async function listenOnSocket(
  options: ProxyOptions,
  endpoint: EndpointConfig,
  overTcp: string,
  log: Logger,
): Promise<SocketProxy | undefined> {
  let directory: string | undefined
  const remove = async () => {
    if (directory) await rm(directory, { recursive: true, force: true })
  }
  try {
    directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-'))
    const path = join(directory, 'mysql.sock')
    const proxy = createProxy({ ...options, listen: `unix:${path}` }, endpoint.names)
    await proxy.listen()
    return {
      path,
      async close(delay) {
        await proxy.close(delay)
        await remove()
      },
    }
  } catch (error) {
    await remove()
    const why = error instanceof ProxyError ? error.message : systemCode(error)
    log.warn({ directory: tmpdir() }, `no unix socket for the command, only a TCP port (${overTcp}): ${why}`)
    return undefined
  }
}

/** Keeps signals from ending the proxy under the command, and hands them to the command. Those before its start wait for it. */
function createSignalForwarding() {
  let child: ChildProcess | undefined
  const early: NodeJS.Signals[] = []
  const onSignal = (name: NodeJS.Signals) => {
    // The terminal sends Ctrl-C and Ctrl-\ to the command too.
    if ((name === 'SIGINT' || name === 'SIGQUIT') && isForegroundJob()) return
    if (child) child.kill(name)
    else early.push(name)
  }
  for (const name of forwardedSignals()) process.on(name, onSignal)
  return {
    forwardTo(started: ChildProcess) {
      child = started
      for (const name of early) child.kill(name)
    },
    stop() {
      for (const name of forwardedSignals()) process.off(name, onSignal)
    },
  }
}

/** Whether the keys of a terminal send their signals to this process group. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
function isForegroundJob(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    // Behind the program's name: state, ppid, pgrp, session, tty_nr, tpgid.
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    return isatty(0) || isatty(2) // not Linux
  }
}
