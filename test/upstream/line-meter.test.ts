import { test } from 'tap'
import { createLineMeter } from '../../src/upstream/line-meter.ts'
import { createTestClock } from '../support/clock.ts'

const MEGABYTE = 1_000_000

test('a line is slow if all of the last greetings took a while', t => {
  const meter = createLineMeter(createTestClock())
  t.notOk(meter.isSlow(), 'nothing is known')
  meter.greeted(20)
  t.ok(meter.isSlow())
  meter.greeted(4.9)
  t.notOk(meter.isSlow(), 'the first one was late')
  for (let i = 0; i < 7; i++) meter.greeted(20)
  t.notOk(meter.isSlow())
  meter.greeted(5)
  t.ok(meter.isSlow(), 'eight greetings later')
  meter.forget()
  t.notOk(meter.isSlow())
  t.end()
})

test('a distant line that has brought a session 30 MB in a second is fast for an hour', t => {
  const clock = createTestClock(1_000)
  const meter = createLineMeter(clock)
  meter.greeted(20)
  const connection = { bytesRead: 500 * MEGABYTE }
  const unwatch = meter.watch(connection)
  clock.advance(1_000)
  t.ok(meter.isSlow(), 'what came before does not count')
  connection.bytesRead += 29 * MEGABYTE
  clock.advance(1_000)
  t.ok(meter.isSlow())
  connection.bytesRead += 30 * MEGABYTE
  clock.advance(1_000)
  t.notOk(meter.isSlow())
  clock.advance(3_599_999)
  t.notOk(meter.isSlow())
  clock.advance(1)
  t.ok(meter.isSlow(), 'an hour later')
  // A late look divides by the time since the last.
  connection.bytesRead += 50 * MEGABYTE
  clock.skip(2_000)
  clock.advance(0)
  t.ok(meter.isSlow())
  connection.bytesRead += 40 * MEGABYTE
  clock.advance(1_000)
  t.notOk(meter.isSlow())
  meter.forget()
  meter.greeted(20)
  t.ok(meter.isSlow(), 'on another network')
  unwatch()
  t.equal(clock.pending(), 0)
  t.end()
})

test('what it says of the line', t => {
  const clock = createTestClock(1_000)
  const meter = createLineMeter(clock)
  const measured = () => {
    const { isSlow, why, roundTrip, bytesPerSecond } = meter.measured()
    t.equal(isSlow, meter.isSlow())
    return [why, roundTrip, bytesPerSecond]
  }
  t.strictSame(measured(), ['the server has not greeted yet', undefined, undefined])
  meter.greeted(0.4213)
  t.strictSame(measured(), ['a greeting came within 0.42 ms', 0.4213, undefined])
  meter.forget()
  meter.greeted(38.5)
  t.strictSame(measured(), ['greetings take 39 ms or more', 38.5, undefined])
  const connection = { bytesRead: 0 }
  const unwatch = meter.watch(connection)
  const get = (megabytes: number) => {
    connection.bytesRead += megabytes * MEGABYTE
    clock.advance(1_000)
  }
  get(12)
  get(3)
  t.strictSame(measured(), ['greetings take 39 ms or more', 38.5, 12 * MEGABYTE], 'the most of the last hour')
  get(40)
  t.strictSame(measured(), ['a session got 30 MB in a second or more', 38.5, 40 * MEGABYTE])
  unwatch()
  clock.advance(3_600_000)
  t.strictSame(measured(), ['greetings take 39 ms or more', 38.5, undefined], 'an hour later')
  const again = meter.watch(connection)
  get(2)
  t.strictSame(measured()[2], 2 * MEGABYTE)
  meter.forget()
  t.strictSame(measured(), ['the server has not greeted yet', undefined, undefined], 'on another network')
  again()
  t.end()
})

test('sessions near the database are not measured, and those of several share a timer', t => {
  const clock = createTestClock()
  const meter = createLineMeter(clock)
  meter.greeted(1)
  meter.watch({ bytesRead: 0 })()
  t.equal(clock.pending(), 0)
  meter.forget()
  meter.greeted(30)
  const ends = [meter.watch({ bytesRead: 0 }), meter.watch({ bytesRead: 0 })]
  t.equal(clock.pending(), 1)
  for (const end of ends) end()
  t.equal(clock.pending(), 0)
  t.end()
})
