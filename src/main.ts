/** The command line: picks the command, its settings and the exit code. */
import yargs, { type Argv, type Options } from 'yargs'
import { type Command, type OptionName, optionNames, optionSpec, optionsOf } from './config/options.ts'
import { namesOfSettings, resolveSettings } from './config/settings.ts'
import { ERRORS } from './error-codes.ts'
import { asProxyError, hintFor, ProxyError } from './errors.ts'
import { newOptionName } from './renames.ts'
import { didYouMean } from './text.ts'
import { packageVersion } from './version.ts'

/** Runs the command in `args`; resolves with the exit code of the process. */
export async function main(args: readonly string[]): Promise<number> {
  const environment = { ...process.env } // for the command of exec, without what follows
  // On Node.js 20 the AWS SDK prints 16 lines to stderr, between our own. As a library we leave this to the program.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  const stop = new AbortController()
  let signal: NodeJS.Signals | undefined
  let endsAtSecondSignal = true
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (signal && endsAtSecondSignal) process.exit(exitCodeOf(name))
      signal ??= name
      stop.abort()
    })
  }
  const given = (flags: Record<string, unknown>) => ((flags['endpoint'] ?? []) as string[]).map(String)
  let exitCode: number | undefined
  const parser = yargs([...args])
    .scriptName('mysql-iam-proxy')
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'populate--': true,
    })
    .command(
      '$0 [endpoint..]',
      'Serve databases to MySQL clients on this machine',
      takes('run', endpointArgument),
      async flags => {
        const { run } = await import('./commands/run.ts')
        const { settings } = await run(flags, given(flags), stop.signal)
        if (signal === 'SIGTERM' && settings['exit-zero-on-sigterm']) signal = undefined
      },
    )
    .command(
      'exec [endpoint..]',
      'Run COMMAND with MYSQL_HOST and MYSQL_PORT set: exec [options] -- COMMAND',
      takes('exec', endpointArgument),
      async flags => {
        endsAtSecondSignal = false // the command decides when to end
        const { exec } = await import('./commands/exec.ts')
        exitCode = await exec(flags, given(flags), (flags['--'] ?? []) as string[], environment, stop.signal)
      },
    )
    .command('wait', 'Wait until a proxy is ready', takes('wait'), async flags => {
      const { waitUntilReady } = await import('./commands/wait.ts')
      await waitUntilReady(resolveSettings(flags, process.env), stop.signal)
    })
    .command(
      'config <check|show|schema>',
      'Check the configuration, show the resulting values, or print the JSON schema of the file',
      takes('config', y => y.positional('check', { choices: ['check', 'show', 'schema'], type: 'string' })),
      async flags => {
        const { configCommand } = await import('./commands/config.ts')
        print(await configCommand(String(flags['check']), flags, process.env))
      },
    )
    .command(
      'hash-password',
      'Hash a password from standard input, for password-hash or a password file',
      {
        method: {
          describe: 'mysql_native_password also serves clients without TLS, except those of MySQL 9',
          choices: ['caching_sha2_password', 'mysql_native_password'] as const,
          default: 'caching_sha2_password' as const,
        },
      },
      async ({ method }) => {
        const { hashPassword } = await import('./commands/hash-password.ts')
        print(await hashPassword(process.stdin, method))
      },
    )
    .command('demo', 'Try it without an AWS account, on a stand-in for RDS', takes('demo'), async flags => {
      const settings = resolveSettings(flags, process.env)
      const { runDemo } = await import('./commands/demo.ts')
      await runDemo({ listen: settings.listen, keepUp: true, print, signal: stop.signal })
      signal = undefined // Ctrl-C is the usual end of a demo
    })
    .command(
      'check [endpoint-or-user] [db-user]',
      'Check each step of a login, and say what is wrong and what to do about it',
      takes('check', y =>
        y
          .positional('endpoint-or-user', {
            type: 'string',
            describe: 'An endpoint of the configuration, or else the database user',
          })
          .positional('db-user', { type: 'string', describe: 'The database user, instead of --user' }),
      ),
      async flags => {
        const { runCheck } = await import('./commands/check.ts')
        exitCode = await runCheck(flags, stop.signal)
      },
    )
    .command(
      'explain [code]',
      'Explain an error and what to do about it',
      command => command.positional('code', { type: 'string', describe: 'For example 1045 or TLS_WRONG_NAME' }),
      async ({ code }) => {
        const { explain } = await import('./commands/explain.ts')
        process.stdout.write(explain(code))
      },
    )
    .command(
      'sync-targets',
      "Keep NLB targets in sync with the database's addresses",
      takes('sync-targets'),
      async flags => {
        const settings = resolveSettings(flags, process.env)
        const { syncTargets } = await import('./commands/sync-targets.ts')
        const names = namesOfSettings(flags, process.env)
        exitCode = await syncTargets(settings, names, print, stop.signal)
      },
    )
    .command(
      'trust <update>',
      "Download the CA certificates of the database's region, or of all commercial regions, from AWS",
      takes('trust', y => y.positional('update', { choices: ['update'], type: 'string' })),
      async flags => {
        const { trustUpdate } = await import('./commands/trust.ts')
        await trustUpdate(resolveSettings(flags, process.env), namesOfSettings(flags, process.env), print, stop.signal)
      },
    )
    .completion('completion', 'Print the completion script of your shell (bash, zsh)')
    .strict()
    .locale('en')
    .version(packageVersion())
    .epilogue('Each option is also an environment variable, for example MYSQL_IAM_PROXY_RDS_ENDPOINT.')
    .wrap(Math.min(100, process.stdout.columns ?? 80))
    .exitProcess(false)
    .fail((message, error) => {
      // yargs gives its own errors as a message; an error that a command threw comes without one.
      throw message ? new ProxyError('CONFIG_INVALID', explainYargs(message)) : error
    })
  try {
    await parser.parseAsync()
    return exitCode ?? (signal ? exitCodeOf(signal) : 0)
  } catch (thrown) {
    if (signal && thrown instanceof Error && thrown.name === 'AbortError') return exitCodeOf(signal)
    const error = asProxyError(thrown)
    process.stderr.write(`mysql-iam-proxy: ${error.message}\n${hintFor(error, {})}\n`)
    return ERRORS[error.code].exitCode
  }
}

/** yargs' message, with the present name of a renamed flag or the nearest name of an unknown one. */
function explainYargs(message: string): string {
  const unknown = /^Unknown arguments?: (.*)$/.exec(message)?.[1]?.split(', ')
  if (!unknown) return message
  const renamed = unknown.find(name => newOptionName(name))
  if (renamed) return `--${renamed} is now --${newOptionName(renamed)}`
  return `${message}${didYouMean(unknown[0]!, optionNames)}`
}

/** As shells do: 128 + the signal's number. */
function exitCodeOf(signal: NodeJS.Signals): number {
  return signal === 'SIGINT' ? 130 : 143
}

/** The options of `command`, and its other arguments. */
function takes(command: Command, more: (parser: Argv) => Argv = parser => parser): (parser: Argv) => Argv {
  const options = Object.fromEntries(optionsOf(command).map(name => [name, toYargs(name)]))
  return parser => more(parser.options(options))
}

function endpointArgument(parser: Argv): Argv {
  const describe =
    'HOST[:PORT][?port=3307&…]: an RDS endpoint with its own options, or NAME[?…]: an endpoint of the configuration file; may be repeated'
  return parser.positional('endpoint', { type: 'string', array: true, describe })
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function toYargs(name: OptionName): Options {
  const { kind, placeholder, default: standard, choices, describe } = optionSpec(name)
  const values = choices ? `${choices.join('|')}: ` : placeholder ? `${placeholder}: ` : ''
  return {
    describe: values + describe,
    // resolveSettings checks values and sets defaults, because the environment comes in between.
    type: kind === 'boolean' ? 'boolean' : 'string',
    requiresArg: kind !== 'boolean',
    ...(kind === 'strings' ? { array: true, nargs: 1 } : {}),
    ...(kind === 'boolean' ? { default: undefined } : {}),
    ...(standard === undefined ? {} : { defaultDescription: standard }),
  }
}
