/** Both ends of a connection in memory: what one side writes is at the other before the next turns of the event loop. */
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { Test } from 'tap'

/** More turns of the event loop than an exchange between two such ends takes. */
const MAX_TURNS = 200

export function createMemoryPair(t: Test): [Socket, Socket] {
  const [one, other] = duplexPair() as Duplex[] as [Socket, Socket]
  t.teardown(() => {
    for (const end of [one, other]) end.on('error', () => {}).destroy()
  })
  return [one, other]
}

/** The result of `work`. A mistake that makes both sides wait fails at once, and not after a timeout. */
export async function settled<Value>(work: Promise<Value>): Promise<Value> {
  let isOver = false
  const over = () => {
    isOver = true
  }
  work.then(over, over)
  for (let turn = 0; turn < MAX_TURNS && !isOver; turn++) await setImmediate()
  if (!isOver) throw new Error('both sides wait for each other')
  return await work
}
