/** `mysql-iam-proxy exec -- COMMAND`: a proxy for as long as one command runs. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { prepareEndpoints } from '../config/proxy-options.ts'
import type { Settings } from '../config/settings.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { createLogger } from '../log.ts'
import { createProxy } from '../proxy/proxy.ts'

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
 * which libmysqlclient reads. Listens on a free port if no address is given.
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
  const { settings, endpoint } = await configure(flags, endpoints, environment)
  // Standard output belongs to the command.
  const log = await createLogger(settings['log-level'], settings['log-format'], 2)
  const [prepared] = await prepareEndpoints([endpoint], log)
  const { options } = prepared!

  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-'))
  const path = join(directory, 'mysql.sock')
  const overTcp = createProxy(options, endpoint.names)
  const overSocket = createProxy({ ...options, listen: `unix:${path}` }, endpoint.names)
  try {
    const { host, port } = await overTcp.listen()
    await overSocket.listen()
    if (stop.aborted) return undefined
    const address = { MYSQL_HOST: host, MYSQL_PORT: String(port), MYSQL_SOCKET: path }
    const child = spawn(program, args, {
      stdio: 'inherit',
      env: { ...environment, ...address, MYSQL_TCP_PORT: String(port), MYSQL_UNIX_PORT: path },
    })
    // Ctrl-C reaches the command too; the command decides when to end.
    const onTerm = () => child.kill('SIGTERM')
    process.on('SIGTERM', onTerm)
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    process.off('SIGTERM', onTerm)
    return code ?? 128 + constants.signals[signal!]
  } catch (error) {
    if (error instanceof ProxyError) throw error
    throw new ProxyError('CONFIG_INVALID', `exec: ${program}: ${systemCode(error)}`, { cause: error })
  } finally {
    await Promise.all([overTcp.close(), overSocket.close()])
    await rm(directory, { recursive: true, force: true })
  }
}
