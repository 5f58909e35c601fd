import { test } from 'tap'
import { silent } from '../../src/log.ts'
import { createWords } from '../../src/tunnel/words.ts'
import { createTestClock } from '../support/clock.ts'

function setUp() {
  const clock = createTestClock(5_000)
  const lines: string[] = []
  const log = {
    ...silent,
    info: (fields: object, message: string) =>
      lines.push(`${message}${'moreBefore' in fields ? ` +${fields.moreBefore}` : ''}`),
  }
  const words = createWords(log, clock)
  return { clock, lines, words, say: (text: string) => words.write('stderr', Buffer.from(text)) }
}

test('lines go to the log, also in pieces, without empty ones', async t => {
  const { lines, words, say } = setUp()
  say('debug1: conn')
  words.write('stdout', Buffer.from('from stdout\n'))
  say('ected\r\n\n  \nsecond\rthird\n')
  t.same(lines, ['tunnel: from stdout', 'tunnel: debug1: connected', 'tunnel: second', 'tunnel: third'])
  const bytes = Buffer.from('größer\n')
  words.write('stderr', bytes.subarray(0, 3))
  words.write('stderr', bytes.subarray(3))
  t.equal(lines.at(-1), 'tunnel: größer')
})

test('secrets, terminal codes and long lines do not reach the log', async t => {
  const { lines, say, words } = setUp()
  say('password=hunter2 and token: abc\n')
  say('\u001b[31mred\u001b[0m\u001b]0;title\u0007 \u202etext\u0008\n')
  say(`${'x'.repeat(1_000)}\n`)
  say('y'.repeat(700))
  t.same(lines.slice(0, 2), ['tunnel: password=*** and token: ***', 'tunnel: red text'])
  t.equal(lines[2], `tunnel: ${'x'.repeat(299)}…`)
  t.equal(lines[3], `tunnel: ${'y'.repeat(299)}…`, 'a line without an end is not kept')
  t.match(words.last(0), /^y+…$/)
})

test('at most 10 lines a second; the next one says how many were left out', async t => {
  const { clock, lines, say } = setUp()
  for (let n = 1; n <= 25; n++) say(`line ${n}\n`)
  t.equal(lines.length, 10)
  clock.advance(1_000)
  say('later\n')
  say('and on\n')
  t.same(lines.slice(10), ['tunnel: later +15', 'tunnel: and on'])
})

test('the last line, and a prompt without a line end', async t => {
  const { clock, say, words } = setUp()
  t.equal(words.last(0), undefined)
  say('old\n')
  clock.advance(100)
  t.equal(words.last(5_000), 'old')
  t.equal(words.last(5_050), undefined)
  words.write('stdout', Buffer.from('Password: '))
  t.equal(words.last(5_050), 'Password:')
})

test('it waits a moment for a line', async t => {
  const { clock, say, words } = setUp()
  const soon = words.lastSoon(5_000)
  say('open failed\n')
  t.equal(await soon, 'open failed')
  t.equal(await words.lastSoon(5_000), 'open failed')
  const never = words.lastSoon(6_000)
  clock.advance(300)
  t.equal(await never, undefined)
  t.equal(clock.pending(), 0)
})
