/** Programs on a real pseudo-terminal, which `script` of util-linux makes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { ensureProgram } from './packages.ts'
import { until } from './proxy.ts'

export interface TestTerminal {
  /** everything that was written to it, without escape sequences */
  text(): string
  /** everything, with them */
  raw(): string
  /** waits for a text; fails the test if the program ends before */
  waitFor(pattern: RegExp): Promise<RegExpMatchArray>
  /** '\u0003' is Ctrl-C */
  type(keys: string): void
  /** the exit code of the program */
  end(): Promise<number | null>
}

/** Starts a program whose standard input, output and error are a terminal. */
export async function startOnTerminal(
  t: Test,
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<TestTerminal> {
  const script = await ensureProgram('script', 'bsdutils')
  const line = command.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  // -e: the exit code of the program. `exec` makes the program itself the one that gets the keys.
  const child: ChildProcess = spawn(script, ['-qefc', `exec ${line}`, '/dev/null'], {
    env: { TERM: 'xterm', ...environment },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let output = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stdin!.on('error', () => {})
  const ended = once(child, 'close').then(([code]) => code as number | null)
  t.teardown(async () => {
    if (child.exitCode === null) child.kill()
    await ended
  })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences
  const text = () => output.replace(/\u001b\[[\d;?]*[A-Za-z]/g, '').replaceAll('\r', '')
  return {
    text,
    raw: () => output,
    async waitFor(pattern) {
      await until(() => pattern.test(text()) || child.exitCode !== null)
      const match = text().match(pattern)
      if (!match) throw new Error(`no ${pattern} in:\n${text()}`)
      return match
    },
    type: keys => void child.stdin!.write(keys),
    end: () => ended,
  }
}
