/** The command line: which command, with which settings, and the exit code. */
import { readFileSync } from 'node:fs'
import yargs, { type Options } from 'yargs'
import { asProxyError, ERRORS, hintFor, ProxyError } from './errors.ts'
import { type Command, type OptionName, optionSpec, optionsOf, resolveSettings } from './options.ts'

/** Runs the command that `args` names; resolves with the exit code of the process. */
export async function main(args: readonly string[]): Promise<number> {
  const stop = new AbortController()
  let signal: NodeJS.Signals | undefined
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (signal) process.exit(exitCodeOf(name))
      signal = name
      stop.abort()
    })
  }
  const parser = yargs([...args])
    .scriptName('mysql-iam-proxy')
    .parserConfiguration({ 'camel-case-expansion': false, 'dot-notation': false, 'parse-numbers': false })
    .command('$0', 'Serve a database to MySQL clients on this machine', toYargsOptions('run'), async flags => {
      const settings = resolveSettings(flags, process.env)
      const { run } = await import('./commands/run.ts')
      await run(settings, stop.signal)
    })
    .command('demo', 'Try it without an AWS account, on a stand-in for RDS', toYargsOptions('demo'), async flags => {
      const settings = resolveSettings(flags, process.env)
      const { runDemo } = await import('./commands/demo.ts')
      // biome-ignore lint/suspicious/noConsole: what the demo prints is its purpose
      await runDemo({ listen: settings.listen, keepUp: true, print: line => console.log(line), signal: stop.signal })
      signal = undefined // Ctrl-C is how a demo ends
    })
    .strict()
    .locale('en')
    .version(packageVersion())
    .epilogue('Each option is also an environment variable, for example MYSQL_IAM_PROXY_RDS_ENDPOINT.')
    .wrap(Math.min(100, process.stdout.columns ?? 80))
    .exitProcess(false)
    .fail((message, error) => {
      // yargs hands over its own complaints with the message, what a command threw without.
      throw message ? new ProxyError('CONFIG_INVALID', message) : error
    })
  try {
    await parser.parseAsync()
    return signal ? exitCodeOf(signal) : 0
  } catch (thrown) {
    const error = asProxyError(thrown)
    process.stderr.write(`mysql-iam-proxy: ${error.message}\n${hintFor(error, {})}\n`)
    return ERRORS[error.code].exitCode
  }
}

/** As shells number it: 128 + the signal's number. */
function exitCodeOf(signal: 'SIGINT' | 'SIGTERM' | NodeJS.Signals): number {
  return signal === 'SIGINT' ? 130 : 143
}

function toYargsOptions(command: Command): Record<string, Options> {
  return Object.fromEntries(optionsOf(command).map(name => [name, toYargs(name)]))
}

function toYargs(name: OptionName): Options {
  const { kind, placeholder, default: standard, choices, describe } = optionSpec(name)
  const values = choices ? `${choices.join('|')}: ` : placeholder ? `${placeholder}: ` : ''
  return {
    describe: values + describe,
    // Values are checked, and defaults set, in resolveSettings: the environment comes between.
    type: kind === 'switch' ? 'boolean' : 'string',
    requiresArg: kind !== 'switch',
    ...(kind === 'texts' ? { array: true, nargs: 1 } : {}),
    ...(kind === 'switch' ? { default: undefined } : {}),
    ...(standard === undefined ? {} : { defaultDescription: standard }),
  }
}

function packageVersion(): string {
  // src/ and dist/src/ lie at different depths below package.json.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
    } catch {}
  }
  return 'unknown'
}
