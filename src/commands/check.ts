/** `mysql-iam-proxy check [USER]`: finds the one thing to fix. */
import { check, type Wanted } from '../check/check.ts'
import { jsonReporter, terminalReporter } from '../check/report.ts'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { toProxyOptions } from '../config/proxy-options.ts'
import { resolveSettings } from '../config/settings.ts'
import { ProxyError } from '../errors.ts'
import { silent } from '../log.ts'

/** The maximum width of the output, in characters. */
const WIDTH = 80

/** Resolves with the exit code: 0 only if a login through the proxy and a query succeeded. */
export async function runCheck(flags: Readonly<Record<string, unknown>>, stop: AbortSignal): Promise<number> {
  const { stdout } = process
  const write = (text: string) => void stdout.write(text)
  const reporter = wantsJson(flags)
    ? jsonReporter(write)
    : terminalReporter({
        write,
        width: Math.min(stdout.columns ?? WIDTH, WIDTH),
        isLive: stdout.isTTY,
        colours: stdout.isTTY && !process.env.NO_COLOR,
      })
  const { exitCode } = await check(() => readWanted(flags), reporter, stop)
  return exitCode
}

/** @throws ProxyError CONFIG_INVALID */
async function readWanted(flags: Readonly<Record<string, unknown>>): Promise<Wanted> {
  const { settings, endpoints } = await loadConfig(flags, [], process.env)
  const endpoint = selectEndpoint(endpoints, settings.endpoint)
  return {
    proxy: await toProxyOptions(endpoint, silent),
    user: (flags['db-user'] as string | undefined) ?? endpoint.settings.user,
    database: settings.database,
    aws: settings.aws,
  }
}

function selectEndpoint(endpoints: readonly EndpointConfig[], wanted: string | undefined): EndpointConfig {
  const names = endpoints.map(({ name, settings }) => name ?? settings['rds-endpoint'] ?? '')
  const index = wanted === undefined ? 0 : names.indexOf(wanted)
  const found = endpoints[index]
  if (found && (wanted !== undefined || endpoints.length === 1)) return found
  const message = `--endpoint: check needs the name of one endpoint; there are ${names.join(', ')}`
  throw new ProxyError('CONFIG_INVALID', message)
}

/** Needed before the configuration is valid, so that its errors are also reported as JSON. */
function wantsJson(flags: Readonly<Record<string, unknown>>): boolean {
  try {
    return resolveSettings(flags, process.env).json
  } catch {
    return flags['json'] === true
  }
}
