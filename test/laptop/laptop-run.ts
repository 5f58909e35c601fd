/** From nothing to a query, with key presses in a shell on a real terminal. Every step waits for what the one before shows. */
import type { Test } from 'tap'
import { until } from '../support/proxy.ts'
import { startOnTerminal } from '../support/terminal.ts'
import { type Laptop, startLaptop } from './laptop.ts'
import { screenOf } from './screen.ts'

const KEYS = { Enter: '\r', Space: ' ', Down: '\x1b[B' } as const
type Key = keyof typeof KEYS

/** What a person typed at one place: characters, and keys by their names. */
export interface Typed {
  /** at the prompt of a shell or a client; otherwise at a question of the program */
  isLine: boolean
  text: string
  keys: Key[]
}

export interface LaptopRun {
  /** of both terminals, with stable times, ports and folders */
  screens: [string, string]
  /** of both terminals */
  typed: readonly [Typed[], Typed[]]
}

/** A character is a keystroke, and so is each key. */
export function keystrokesIn(typed: readonly Typed[]): number {
  return typed.reduce((sum, { text, keys }) => sum + text.length + keys.length, 0)
}

export interface Shell {
  /** Types a line behind the prompt of the shell, or of a client in it. */
  line(text: string, prompt?: string): Promise<void>
  /** Answers a question, which must be the next one. */
  answer(question: string, text: string, ...keys: Key[]): Promise<void>
  /** Waits for `text`, behind what was seen before. */
  shows(text: string): Promise<void>
  typed: Typed[]
  /** Types what does not count. */
  key(key: string): void
  /** what stands behind what was seen */
  rest(): string
  raw(): string
}

export async function startShell(t: Test, { environment }: Laptop): Promise<Shell> {
  const command = ['/bin/sh', '-c', 'cd "$HOME" && stty cols 100 rows 40 && exec /bin/sh -i']
  const terminal = await startOnTerminal(t, command, environment)
  const typed: Typed[] = []
  let seen = 0
  let hasEnded = false
  void terminal.end().then(() => {
    hasEnded = true
  })
  async function shows(text: string): Promise<void> {
    const at = () => terminal.text().indexOf(text, seen)
    await until(() => at() >= 0 || hasEnded)
    if (at() < 0) throw new Error(`nothing shows "${text}" in:\n${terminal.text()}`)
    seen = at() + text.length
  }
  function press(isLine: boolean, text: string, keys: Key[]): void {
    typed.push({ isLine, text, keys })
    terminal.type(text + keys.map(key => KEYS[key]).join(''))
  }
  return {
    async line(text, prompt = '$ ') {
      await shows(prompt)
      press(true, text, ['Enter'])
      await shows(text)
    },
    async answer(question, text, ...keys) {
      await shows(question)
      press(false, text, keys)
    },
    shows,
    typed,
    key: terminal.type,
    rest: () => terminal.text().slice(seen),
    raw: terminal.raw,
  }
}

/** The whole run. Rejects when a step fails. */
export async function runOnLaptop(t: Test): Promise<LaptopRun> {
  const laptop = await startLaptop(t)
  const first = await startShell(t, laptop)
  await first.line('mysql-iam-proxy login --profile dev')
  await first.shows('Signed in to')
  await first.line('mysql-iam-proxy list --profile dev')
  await first.shows('database-1')
  await first.line('mysql-iam-proxy add')
  await first.answer('Which profile of ~/.aws/config?', '', 'Enter')
  await first.answer('Which databases?', '', 'Enter')
  await first.answer('Database user for database-1', 'iam_user', 'Enter')
  await first.answer('Local port for database-1', '', 'Enter')
  await first.shows('a login and a query succeeded')
  await first.shows('Connect a client')
  await first.shows('mysql -h 127.0.0.1 -P ')
  const port = /^\d+/.exec(first.rest())![0]
  await first.line('mysql-iam-proxy')
  await first.shows('listening on')
  await first.shows('jdbc:')
  await first.shows('\n\n')
  const shown = screenOf(first.raw())

  const second = await startShell(t, laptop)
  await second.line(`mysql -h 127.0.0.1 -P ${port} -u iam_user`)
  await second.line('SELECT CURRENT_USER();', '> ')
  await second.shows('iam_user@%')
  await second.shows('1 row in set')
  await second.shows('> ')
  const answer = screenOf(second.raw())
  first.key('\x03')
  await first.shows('$ ')
  const ofRun = (text: string) => stable(text, laptop, port)
  const named = (typed: Typed[]) => typed.map(each => ({ ...each, text: ofRun(each.text) }))
  return {
    screens: [ofRun(shown.join('\n').trimEnd()), ofRun(answer.join('\n').trimEnd())],
    typed: [named(first.typed), named(second.typed)],
  }
}

/** `text` without what differs between two runs: folders, ports, times and random values. */
function stable(text: string, { home, balancerPort, signInUrl }: Laptop, port: string): string {
  return text
    .replaceAll(home, '/home/you')
    .replaceAll(signInUrl, 'https://oidc.us-east-1.amazonaws.com')
    .replace(/(?<=client_id=client-|state=|code_challenge=)[\w-]+/g, '…')
    .replace(/(?<=127\.0\.0\.1%3A)\d+/, '…')
    .replaceAll(`:${balancerPort}`, ':13306')
    .replace(new RegExp(`(?<=127\\.0\\.0\\.1:|-P |port |│ {2})${port}\\b`, 'g'), '3306')
    .replace(/(?<=is valid until ).*\./, '1/2/2026, 10:00:00 AM.')
    .replace(/^\[\d\d:\d\d:\d\d\]/gm, '[09:00:00]')
    .replace(/(?<=connection id is )\d+/, '12')
    .replace(/\(0\.\d+ sec\)/, '(0.001 sec)')
}
