import { test } from 'tap'
import { startSuccessor } from '../../src/commands/successor.ts'
import { createTestClock } from '../support/clock.ts'
import { until } from '../support/raw-client.ts'

const never = new AbortController().signal
const node = (script: string) => ({ program: process.execPath, first: ['-e', script] })

test('a new process that does not serve', async t => {
  const refused = (message: RegExp) => ({ code: 'UPGRADE_FAILED', message })
  await t.rejects(startSuccessor({ program: '/no/such/program', first: [] }, [], never), refused(/ENOENT/))
  await t.rejects(
    startSuccessor(node('process.exit(3)'), [], never),
    refused(/ended with exit code 3 before it served/),
  )
  await t.rejects(
    startSuccessor(node('process.send({ what: "failed", message: "a mistake", hint: "Correct it." })'), [], never),
    { ...refused(/^a mistake$/), hint: 'Correct it.' },
  )
  const stop = new AbortController()
  const stopped = startSuccessor(node('setInterval(() => {}, 1000)'), [], stop.signal)
  stop.abort()
  await t.rejects(stopped, refused(/this process stops/))
  await t.rejects(startSuccessor(node('setInterval(() => {}, 1000)'), [], stop.signal), refused(/this process stops/))

  const clock = createTestClock()
  const hangs = startSuccessor(node('setInterval(() => {}, 1000)'), [], never, clock)
  clock.advance(25_000)
  await t.rejects(hangs, refused(/did not serve within 25 s/))
})

test('a new process that serves, and stops or crashes', async t => {
  const stops = await startSuccessor(
    node(`process.send({ what: 'hello' })
    process.on('message', ({ what }) => process.send({ what: what === 'sockets' ? 'ready' : 'stopping' }))`),
    [],
    never,
  )
  stops.report(2)
  t.equal(await stops.over, 'it stops')
  process.kill(stops.pid)
  const crashes = await startSuccessor(node(`process.send({ what: 'ready' }, () => process.exit())`), [], never)
  t.equal(await crashes.over, 'it has crashed')
  crashes.report(1) // reaches nobody
  await until('the process is gone', () => {
    try {
      return !process.kill(crashes.pid, 0)
    } catch {
      return true
    }
  })
})
