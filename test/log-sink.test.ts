import { test } from 'tap'
import { createLogSink, droppedLogLines, type LogTarget, MAX_WAITING_BYTES } from '../src/log-sink.ts'
import { createTestClock } from './support/clock.ts'

/** A target that works, fails or keeps a write, as the test says. */
function createTarget() {
  const written: string[] = []
  let failure: string | undefined
  let most = Number.POSITIVE_INFINITY
  let kept: (() => void) | undefined
  let keeps = false
  const writeSync = (bytes: Buffer) => {
    if (failure) throw Object.assign(new Error(failure), { code: failure })
    const part = bytes.subarray(0, most)
    written.push(part.toString())
    return part.length
  }
  const target: LogTarget = {
    write(bytes, done) {
      const finish = () => {
        try {
          done(undefined, writeSync(bytes))
        } catch (error) {
          done(error, 0)
        }
      }
      if (keeps) kept = finish
      else finish()
    },
    writeSync,
  }
  return {
    target,
    text: () => written.join(''),
    fail(code: string | undefined) {
      failure = code
    },
    atMost(bytes: number) {
      most = bytes
    },
    keep() {
      keeps = true
    },
    release() {
      keeps = false
      kept?.()
    },
  }
}

function createSink() {
  const target = createTarget()
  const clock = createTestClock()
  const reports: [lost: number, why: string][] = []
  const sink = createLogSink(target.target, (lost, why) => reports.push([lost, why]), clock)
  return { ...target, clock, reports, sink }
}

test('lines in their order, also where the target takes a few bytes at a time', async t => {
  const { sink, text, clock, atMost, keep, release } = createSink()
  sink.write('one\n')
  t.equal(text(), 'one\n', 'at once')
  clock.advance(10)
  atMost(3)
  sink.write('two\n')
  keep()
  sink.write('three\n')
  sink.write('four\n')
  t.equal(text(), 'one\ntwo\n')
  const flushed = sink.flush()
  release()
  await flushed
  t.equal(text(), 'one\ntwo\nthree\nfour\n')
})

test('lines that follow within 10 ms share a write', async t => {
  const { sink, text, clock } = createSink()
  sink.write('one\n')
  sink.write('two\n')
  clock.advance(9)
  sink.write('three\n')
  t.equal(text(), 'one\n')
  clock.advance(1)
  t.equal(text(), 'one\ntwo\nthree\n')
  sink.write('four\n')
  t.equal(text(), 'one\ntwo\nthree\n', 'counted from the write')
  clock.advance(10)
  t.equal(text(), 'one\ntwo\nthree\nfour\n')
  clock.advance(10)
  sink.write('five\n')
  t.equal(text(), 'one\ntwo\nthree\nfour\nfive\n', 'at once again')
  sink.write('six\n')
  await sink.flush()
  t.equal(text(), 'one\ntwo\nthree\nfour\nfive\nsix\n', 'the end does not wait')
  t.equal(clock.pending(), 1, 'the time of the last write')
})

test('a full disk: lines wait, then the rest is dropped, counted, and reported once', async t => {
  const { sink, text, fail, clock, reports } = createSink()
  const before = droppedLogLines()
  const line = `${'x'.repeat(1_023)}\n`
  fail('ENOSPC')
  for (let count = 0; count < 1_100; count++) sink.write(line)
  const kept = MAX_WAITING_BYTES / line.length
  t.equal(droppedLogLines() - before, 1_100 - kept)
  t.equal(text(), '')
  clock.advance(10_000)
  t.same(reports, [])
  fail(undefined)
  clock.advance(1_000)
  t.equal(text(), line.repeat(kept), 'the oldest lines')
  t.same(reports, [[1_100 - kept, 'ENOSPC']])
  sink.write('next\n')
  clock.advance(10_000)
  t.equal(reports.length, 1, 'once')
})

test('a pipe whose reader stands still is tried again soon', async t => {
  const { sink, text, fail, clock, reports } = createSink()
  fail('EAGAIN')
  sink.write('line\n')
  fail(undefined)
  t.equal(text(), '')
  clock.advance(10)
  t.equal(text(), 'line\n')
  t.same(reports, [], 'nothing was dropped')
})

test('a line longer than all that may wait is dropped', async t => {
  const { sink, text, reports } = createSink()
  sink.write('x'.repeat(MAX_WAITING_BYTES + 1))
  sink.write('next\n')
  t.equal(text(), 'next\n')
  t.same(reports, [[1, '']])
})

test('flush waits for a slow reader, for a second at most, and not for a full disk', async t => {
  const { sink, fail, clock } = createSink()
  await sink.flush()
  fail('EAGAIN')
  sink.write('line\n')
  const flushed = sink.flush()
  clock.advance(1_000)
  await flushed
  fail('ENOSPC')
  clock.advance(10)
  await sink.flush()
  t.equal(clock.pending(), 1, 'the next attempt')
})

test('flushSync writes what waits, behind the write in progress', async t => {
  const { sink, text, keep, atMost } = createSink()
  keep()
  sink.write('in progress\n')
  sink.write('one\n')
  sink.write('two\n')
  atMost(3)
  sink.flushSync()
  t.equal(text(), 'one\ntwo\n')
})

test('flushSync gives up at a full disk and, after a second, at a reader that stands still', async t => {
  for (const code of ['ENOSPC', 'EAGAIN']) {
    const { sink, text, fail, clock } = createSink()
    fail(code)
    sink.write('line\n')
    t.intercept(Atomics, 'wait', { value: () => clock.advance(500) })
    sink.flushSync()
    t.equal(text(), '')
    t.equal(clock.now(), code === 'EAGAIN' ? 1_000 : 0)
  }
})
