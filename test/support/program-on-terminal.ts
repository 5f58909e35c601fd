/** The program on a terminal of a known size, with keys that a test presses. */
import type { Test } from 'tap'
import { PROGRAM } from './program.ts'
import { until } from './proxy.ts'
import { startOnTerminal } from './terminal.ts'

export const KEYS = { enter: '\r', down: '\x1b[B', space: ' ', ctrlC: '\x03', clear: '\x15' } as const

export interface ProgramOnTerminal {
  /** Everything that was shown, without control sequences */
  text(): string
  /** Everything, with them */
  raw(): string
  /** Resolves when `text` stands on the terminal, behind what the last call has found. */
  shows(text: string): Promise<void>
  press(...keys: string[]): void
  /** Resolves with the exit code */
  end(): Promise<number | null>
}

/** Runs `args` of the program, with `environment` and nothing of this machine's own settings. */
export async function onTerminal(
  t: Test,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<ProgramOnTerminal> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_|CI$)/.test(name))
  const sized = ['/bin/sh', '-c', 'stty cols 100 rows 40; exec "$@"', 'sh', ...PROGRAM, ...args]
  const terminal = await startOnTerminal(t, sized, {
    ...Object.fromEntries(inherited),
    TERM: 'xterm',
    AWS_EC2_METADATA_DISABLED: 'true',
    ...environment,
  })
  let found = 0
  let hasEnded = false
  const ended = terminal.end().finally(() => {
    hasEnded = true
  })
  return {
    text: terminal.text,
    raw: terminal.raw,
    async shows(wanted) {
      const at = () => terminal.text().indexOf(wanted, found)
      await until(() => at() >= 0 || hasEnded)
      if (at() < 0) throw new Error(`ended before it showed "${wanted}":\n${terminal.text()}`)
      found = at() + wanted.length
    },
    press: (...keys) => terminal.type(keys.join('')),
    end: () => ended,
  }
}
