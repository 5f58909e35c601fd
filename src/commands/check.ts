/** `mysql-iam-proxy check [USER]`: from "it doesn't work" to the one thing to fix. */
import { check } from '../check/check.ts'
import { jsonReporter, terminalReporter } from '../check/report.ts'
import { resolveSettings } from '../options.ts'
import { toProxyOptions } from './run.ts'

/** As wide as the output is at most, in characters. */
const WIDTH = 80

/** Resolves with the exit code: 0 only when a login through the whole path and a query succeeded. */
export async function runCheck(flags: Readonly<Record<string, unknown>>, stop: AbortSignal): Promise<number> {
  // The SDK's word on old releases of Node.js would stand in the middle of the report.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  const named = flags['name'] as string | undefined
  const switches = readSwitches(flags)
  const { stdout } = process
  const write = (text: string) => void stdout.write(text)
  const reporter = switches.json
    ? jsonReporter(write)
    : terminalReporter({
        write,
        width: Math.min(stdout.columns ?? WIDTH, WIDTH),
        isLive: stdout.isTTY,
        colours: stdout.isTTY && !process.env.NO_COLOR,
      })
  const options = {
    proxy: async () => toProxyOptions(resolveSettings(flags, process.env)),
    ...switches,
    user: named ?? switches.user,
  }
  const { exitCode } = await check(options, reporter, stop)
  return exitCode
}

/** What is needed before the configuration is known to be right. */
function readSwitches(flags: Readonly<Record<string, unknown>>) {
  try {
    const settings = resolveSettings(flags, process.env)
    return { json: settings.json, aws: settings.aws, user: settings.user, database: settings.database }
  } catch {
    return { json: flags['json'] === true, aws: false, user: undefined, database: undefined }
  }
}
