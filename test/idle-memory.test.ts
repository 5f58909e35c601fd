import { type Test, test } from 'tap'
import { createProcessMemory, returnIdleMemory } from '../src/idle-memory.ts'
import { createTestClock } from './support/clock.ts'

const MIB = 1024 * 1024
const LOOK_MS = 15_000

/** A process whose memory and work the test sets. */
function createWatched(t: Test, { resident = 100, afterCollection = 100 } = {}) {
  const clock = createTestClock()
  const now = { resident, utilization: 0, collections: 0 }
  const stop = returnIdleMemory(
    {
      resident: () => now.resident * MIB,
      utilization: () => now.utilization,
      async collect() {
        now.collections++
        now.resident = afterCollection
      },
    },
    clock,
  )
  t.teardown(stop)
  /** The time of a look passes, with that memory and work at its end. */
  const pass = async (resident: number, utilization = 0) => {
    Object.assign(now, { resident, utilization })
    clock.advance(LOOK_MS)
    await new Promise(resolve => setImmediate(resolve))
    return now.collections
  }
  return { clock, now, pass, stop }
}

test('an idle process that has grown collects once', async t => {
  const { pass } = createWatched(t, { afterCollection: 140 })
  t.equal(await pass(200), 1)
  t.equal(await pass(145), 1, 'what is left after a collection is in use')
  t.equal(await pass(180), 2, 'new growth')
})

test('a busy process does not collect', async t => {
  const { pass } = createWatched(t)
  t.equal(await pass(200, 0.5), 0)
  t.equal(await pass(200, 0.021), 0)
  t.equal(await pass(200, 0.02), 1, 'idle at last')
})

test('a process that has grown little does not collect', async t => {
  const { pass } = createWatched(t)
  t.equal(await pass(131), 0)
  t.equal(await pass(132), 1)
})

test('a large process must grow by a quarter', async t => {
  const { pass } = createWatched(t, { resident: 400 })
  t.equal(await pass(499), 0)
  t.equal(await pass(500), 1)
})

test('growth counts from the smallest size since the last collection', async t => {
  const { pass } = createWatched(t, { resident: 200 })
  t.equal(await pass(100), 0, 'sessions have ended')
  t.equal(await pass(132), 1)
})

test('nothing is looked at after the end', async t => {
  const { clock, pass, stop } = createWatched(t)
  t.equal(clock.pending(), 1)
  stop()
  t.equal(clock.pending(), 0)
  t.equal(await pass(500), 0)
})

test('the collection of this process frees what nothing holds', async t => {
  const memory = createProcessMemory()
  t.ok(memory.resident() > MIB)
  const utilization = memory.utilization()
  t.ok(utilization >= 0 && utilization <= 1, String(utilization))
  const held: { object?: object } = { object: { large: new Array(1000).fill(0) } }
  const weak = new WeakRef(held.object!)
  delete held.object
  await new Promise(resolve => setImmediate(resolve)) // a WeakRef holds its object until the end of the turn
  await memory.collect()
  t.equal(weak.deref(), undefined)
})

test('a process without the inspector goes on', async t => {
  const { getBuiltinModule } = process
  t.teardown(() => Object.assign(process, { getBuiltinModule }))
  Object.assign(process, { getBuiltinModule: () => undefined })
  await t.resolves(createProcessMemory().collect())
})
