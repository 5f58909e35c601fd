/** docs/laptop-run.md and the counts in docs/comparison.md are those of a run. */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { type LaptopRun, runOnLaptop } from './laptop-run.ts'
import { CLIENT_HEADING, countsOf, pageOf } from './page.ts'
import { screenOf } from './screen.ts'

const page = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')
const withoutClient = (text: string) => text.split(CLIENT_HEADING)[0]

test('from nothing to a query: the pages say what happens (npm run laptop-demo writes docs/laptop-run.md)', async t => {
  const run = await runOnLaptop(t)
  t.equal(withoutClient(page('laptop-run.md')), withoutClient(pageOf(run)))
  const { lines, keystrokes } = countsOf(run).run
  t.match(page('comparison.md'), `${lines} lines and ${keystrokes} keystrokes`)
  t.match(run.screens[1], /\| iam_user@% +\|/)
})

test('a keystroke is a character or a key', async t => {
  const line = { isLine: true, text: 'add', keys: ['Enter' as const] }
  const run: LaptopRun = {
    screens: ['', ''],
    typed: [[line, { isLine: false, text: '', keys: ['Space', 'Enter'] }, line], [line]],
  }
  t.same(countsOf(run), { run: { lines: 3, keystrokes: 14 }, laterDay: { lines: 1, keystrokes: 4 } })
  t.match(pageOf(run), '| `add`; answers: Space Enter | 6 |')
})

test('the screen has what stands on it in the end', async t => {
  t.same(screenOf('one\r\ntwo\x1b[A\rO\x1b[K\r\n\r\n\x1b[31mthree\x1b[0m\x1b[2D--\b!'), ['O', 'two', 'thr-!'])
  t.same(screenOf('a\r\nb\r\nc\x1b[2A\x1b[J\x1b[3Cd\x1b[2Ge\x1b(B\x1b[2K'), [''])
  t.same(screenOf('first\r\x1b[Bnext\x1b[?25l'), ['first', 'next'])
  t.throws(() => screenOf('\x1b[5X'), /an unknown control sequence/)
  t.throws(() => screenOf('\x1b[1K'), /unsupported/)
})
