/** The command line: picks the command, and gives its exit code. The commands are in src/commands/table.ts. */
import { commandOf, has, readArguments } from './commands/arguments.ts'
import { COMMANDS } from './commands/table.ts'
import { ERRORS } from './error-codes.ts'
import { asProxyError, hintFor } from './errors.ts'
import { exitCodeOf, stopSignals } from './signals.ts'
import { packageVersion } from './version.ts'

/** Runs the command in `args`; resolves with the exit code of the process. */
export async function main(args: readonly string[]): Promise<number> {
  const environment = { ...process.env } // for programs that a command starts, without what follows
  // On Node.js 20 the AWS SDK prints 16 lines to stderr, between our own. As a library we leave this to the program.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  if (args[0] === COMPLETE) return await answerShell(args.slice(1))
  const command = commandOf(args)
  const row = COMMANDS[command]
  const stop = new AbortController()
  let signal: NodeJS.Signals | undefined
  for (const name of stopSignals()) {
    process.on(name, () => {
      if (signal && !row.ownsSignals) process.exit(exitCodeOf(name))
      signal ??= name
      // The end may take as long as --max-sigterm-delay.
      if (name === 'SIGINT' && process.stderr.isTTY && !row.ownsSignals) {
        process.stderr.write('\nStopping. Press Ctrl-C again to end at once.\n')
      }
      stop.abort()
    })
  }
  try {
    if (has(args, '--help', '-h')) {
      const { helpFor } = await import('./commands/help.ts')
      print(helpFor(command, COMMANDS))
      return 0
    }
    if (has(args, '--version', '-V')) {
      print(packageVersion())
      return 0
    }
    const exitCode = await row.run({
      ...readArguments(args, command, row),
      environment,
      stop: stop.signal,
      signal: () => signal,
      print,
    })
    return exitCode ?? (signal ? exitCodeOf(signal) : 0)
  } catch (thrown) {
    if (signal && thrown instanceof Error && thrown.name === 'AbortError') return exitCodeOf(signal)
    const error = asProxyError(thrown)
    process.stderr.write(`mysql-iam-proxy: ${error.message}\n${hintFor(error, {})}\n`)
    return ERRORS[error.code].exitCode
  }
}

/** What the completion scripts of src/commands/completion.ts call: `=` and the word at the cursor, and the words before it. */
const COMPLETE = '__complete'

async function answerShell([word = '=', ...before]: readonly string[]): Promise<number> {
  const { complete, toText } = await import('./commands/completion.ts')
  process.stdout.write(toText(await complete(word.slice(1), before, COMMANDS, process.env)))
  return 0
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
