import { test } from 'tap'
import { silent } from '../../src/log.ts'
import { createGreetingWatch } from '../../src/upstream/greeting-watch.ts'
import { createTestClock } from '../support/clock.ts'

function setUp() {
  const clock = createTestClock(1_000)
  const lines: string[] = []
  const log = { ...silent, info: (_fields: object, message: string) => lines.push(message) }
  return { clock, lines, watch: createGreetingWatch('nlb.test:3306', log, clock) }
}

test('a server that greets within 3 s is not mentioned', async t => {
  const { clock, lines, watch } = setUp()
  const end = watch.begin()
  clock.advance(2_999)
  t.notOk(watch.isSilent())
  end(true)
  clock.advance(60_000)
  t.same(lines, [])
  t.equal(clock.pending(), 0)
})

test('a silent server is logged once, whatever the number of logins, until it greets', async t => {
  const { clock, lines, watch } = setUp()
  const ends = [watch.begin()]
  clock.advance(3_000)
  t.ok(watch.isSilent())
  t.equal(lines.length, 1)
  t.match(lines[0], /^nlb\.test:3306 accepts connections but has sent no greeting for 3 s; .*Aurora Serverless/)
  for (let n = 0; n < 5; n++) ends.push(watch.begin())
  clock.advance(10_000)
  ends[0]!(false) // its client left
  clock.advance(17_000)
  t.equal(lines.length, 1)
  for (const end of ends.slice(1)) end(true)
  t.same(lines.slice(1), ['nlb.test:3306 sent its greeting after 30 s'])
  t.notOk(watch.isSilent())
})

test('the next silence is logged again', async t => {
  const { clock, lines, watch } = setUp()
  for (const greeted of [true, false, true]) {
    const end = watch.begin()
    clock.advance(5_000)
    end(greeted)
    end(greeted)
    t.notOk(watch.isSilent(), 'nobody waits')
  }
  t.match(
    lines.map(line => line.replace(/^nlb\.test:3306 (\w+ \w+).*/, '$1')),
    ['accepts connections', 'sent its', 'accepts connections', 'accepts connections', 'sent its'],
  )
})
