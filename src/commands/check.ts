/** `mysql-iam-proxy check [NAME] [USER]`: finds the one thing to fix. */
import { writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { check, type Wanted } from '../check/check.ts'
import { jsonReporter, terminalReporter } from '../check/report.ts'
import { toReport } from '../check/report-file.ts'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { toProxyOptions } from '../config/proxy-options.ts'
import { resolveSettings } from '../config/settings.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { silent } from '../log.ts'
import { didYouMean, isLive, wantsColours } from '../text.ts'
import { packageVersion } from '../version.ts'
import { withMfaCodes } from './mfa-codes.ts'

/** The maximum width of the output, in characters. */
const WIDTH = 80

/**
 * Resolves with the exit code: 0 only if a login through the proxy and a query succeeded.
 * @param words the name of an endpoint, the database user, or both in this order
 */
export async function runCheck(
  flags: Readonly<Record<string, unknown>>,
  words: readonly string[],
  stop: AbortSignal,
): Promise<number> {
  const { stdout } = process
  const write = (text: string) => void stdout.write(text)
  const reporter = wantsJson(flags)
    ? jsonReporter(write)
    : terminalReporter({
        write,
        width: Math.min(stdout.columns || WIDTH, WIDTH),
        isLive: isLive(stdout.isTTY),
        colours: wantsColours(stdout.isTTY),
        quiet: flags['quiet'] === true,
      })
  const { context, ...result } = await check(() => readWanted(flags, words, stop), reporter, stop)
  const report = reportOf(flags)
  if (report && !stop.aborted) {
    const facts = { version: packageVersion(), node: process.version, platform: `${process.platform} ${process.arch}` }
    await writeReport(report, toReport(result, context, facts), wantsJson(flags), stop)
  }
  return result.exitCode
}

interface ReportFile {
  path: string
  /** whether to write without asking */
  yes: boolean
  /** whether not to ask */
  noInput: boolean
}

/** Shows the document first. Asks only on a terminal. Standard output holds only JSON with --json. @throws ProxyError CONFIG_INVALID */
async function writeReport(
  { path, yes, noInput }: ReportFile,
  text: string,
  json: boolean,
  stop: AbortSignal,
): Promise<void> {
  const output = json ? process.stderr : process.stdout
  output.write(`\n${text}\n`)
  if (!yes && process.stdin.isTTY && output.isTTY) {
    if (noInput) {
      output.write('Not written; on a terminal, --no-input needs --yes.\n')
      return
    }
    const question = createInterface({ input: process.stdin, output })
    const answer = await question
      .question(`Write this report to ${path}? Look for anything that you don't want to publish. [y/N] `, {
        signal: stop,
      })
      .catch(() => '')
      .finally(() => question.close())
    if (!/^y(es)?$/i.test(answer.trim())) {
      output.write('Not written.\n')
      return
    }
  }
  try {
    await writeFile(path, text)
  } catch (cause) {
    throw new ProxyError('CONFIG_INVALID', `--report ${path}: ${systemCode(cause)}`, { cause })
  }
  output.write(`Written to ${path}.\n`)
}

/** The file of --report; undefined without it, or if the options are invalid, which check has reported. */
function reportOf(flags: Readonly<Record<string, unknown>>): ReportFile | undefined {
  try {
    const { report, yes, 'no-input': noInput } = resolveSettings(flags, process.env)
    return report === undefined ? undefined : { path: report, yes, noInput }
  } catch {
    return undefined
  }
}

/** @throws ProxyError CONFIG_INVALID */
async function readWanted(
  flags: Readonly<Record<string, unknown>>,
  words: readonly string[],
  stop: AbortSignal,
): Promise<Wanted> {
  const { settings, endpoints } = await loadConfig(flags, [], process.env)
  const [first, second] = words
  // One argument is an endpoint if the configuration has it, else the user, as before there were default files.
  const isEndpoint =
    settings.endpoint === undefined && (second !== undefined || namesOf(endpoints).includes(first ?? ''))
  const endpoint = selectEndpoint(endpoints, isEndpoint ? first : undefined, settings.endpoint, first)
  const { options, askNow } = await withMfaCodes(await toProxyOptions(endpoint, silent), settings, stop)
  await askNow()
  return {
    proxy: options,
    user: (isEndpoint ? second : first) ?? endpoint.settings.user,
    database: settings.database,
    aws: settings.aws,
    report: settings.report !== undefined,
  }
}

/**
 * @param word the name on the command line, if it must be one
 * @param option of --endpoint
 * @param first a word that may be a mistyped name
 */
function selectEndpoint(
  endpoints: readonly EndpointConfig[],
  word: string | undefined,
  option: string | undefined,
  first: string | undefined,
): EndpointConfig {
  const names = namesOf(endpoints)
  const wanted = option ?? word
  const found = endpoints[wanted === undefined ? 0 : names.indexOf(wanted)]
  if (found && (wanted !== undefined || endpoints.length === 1)) return found
  const problem = wanted === undefined ? 'check needs the name of one endpoint' : `${wanted}: no such endpoint`
  const have = `there ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}${didYouMean(wanted ?? first ?? '', names)}`
  throw new ProxyError('CONFIG_INVALID', `${option === undefined ? '' : '--endpoint: '}${problem}; ${have}`)
}

function namesOf(endpoints: readonly EndpointConfig[]): string[] {
  return endpoints.map(({ name, settings }) => name ?? settings['rds-endpoint'] ?? '')
}

/** Needed before the configuration is valid, so that its errors are also reported as JSON. */
function wantsJson(flags: Readonly<Record<string, unknown>>): boolean {
  try {
    return resolveSettings(flags, process.env).json
  } catch {
    return flags['json'] === true
  }
}
