/** docs/laptop-run.md and the counts in docs/comparison.md are those of a run. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { startLaptop } from './laptop.ts'
import { type LaptopRun, runOnLaptop, startShell } from './laptop-run.ts'
import { CLIENT_HEADING, countsOf, pageOf } from './page.ts'
import { screenOf } from './screen.ts'

const page = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')
const withoutClient = (text: string) => text.split(CLIENT_HEADING)[0]

test('from nothing to a query: the pages say what happens (npm run laptop-demo writes docs/laptop-run.md)', async t => {
  const run = await runOnLaptop(t)
  t.equal(withoutClient(page('laptop-run.md')), withoutClient(pageOf(run)))
  const counts = countsOf(run)
  for (const { lines, keystrokes } of [counts.run, counts.shortest]) {
    t.match(page('comparison.md'), `${lines} lines and ${keystrokes} keystrokes`)
  }
  t.match(run.screens[1], /\| iam_user@% +\|/)
})

test('add without a session signs in first; Ctrl-C there changes nothing', async t => {
  const laptop = await startLaptop(t)
  const config = join(laptop.home, '.config/mysql-iam-proxy/config.yaml')
  const cancelled = await startShell(t, { ...laptop, environment: { ...laptop.environment, DISPLAY: undefined } })
  await cancelled.line('mysql-iam-proxy add --profile dev')
  await cancelled.shows('Open this address')
  await cancelled.shows('Ctrl-C cancels.')
  cancelled.key('\x03')
  await cancelled.line('echo "exit code $?"')
  await cancelled.shows('exit code 130')
  t.notOk(existsSync(config))

  const shell = await startShell(t, laptop)
  await shell.line('mysql-iam-proxy add')
  await shell.answer('Which profile of ~/.aws/config?', '', 'Enter')
  await shell.shows('Your browser opens this address')
  await shell.shows('Signed in to')
  await shell.shows('Which databases?')
  shell.key('\x03')
  await shell.shows('Cancelled. Nothing was written.')
  t.notOk(existsSync(config))
})

test('a keystroke is a character or a key', async t => {
  const line = { isLine: true, text: 'add', keys: ['Enter' as const] }
  const run: LaptopRun = {
    screens: ['', ''],
    typed: [[line, { isLine: false, text: '', keys: ['Space', 'Enter'] }, line], [line]],
  }
  const all = { lines: 3, keystrokes: 14 }
  t.same(countsOf(run), { run: all, shortest: all, laterDay: { lines: 1, keystrokes: 4 } })
  t.match(pageOf(run), '| `add`; answers: Space Enter | 6 |')
})

test('the screen has what stands on it in the end', async t => {
  t.same(screenOf('one\r\ntwo\x1b[A\rO\x1b[K\r\n\r\n\x1b[31mthree\x1b[0m\x1b[2D--\b!'), ['O', 'two', 'thr-!'])
  t.same(screenOf('a\r\nb\r\nc\x1b[2A\x1b[J\x1b[3Cd\x1b[2Ge\x1b(B\x1b[2K'), [''])
  t.same(screenOf('first\r\x1b[Bnext\x1b[?25l'), ['first', 'next'])
  t.throws(() => screenOf('\x1b[5X'), /an unknown control sequence/)
  t.throws(() => screenOf('\x1b[1K'), /unsupported/)
})
