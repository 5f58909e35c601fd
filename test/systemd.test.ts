import { test } from 'tap'
import { createNotifier } from '../src/systemd.ts'

const environment = { NOTIFY_SOCKET: '/run/no-such-socket' }

/** A systemd-notify that ends when the test says so. */
function standIn() {
  const sent: string[] = []
  const ends: (() => void)[] = []
  const send = (what: readonly string[]) => {
    sent.push(what.join(' '))
    return new Promise<void>(resolve => ends.push(resolve))
  }
  const turn = () => new Promise(resolve => setImmediate(resolve))
  const endNext = async () => {
    ends.shift()?.()
    await turn()
  }
  return { sent, send, turn, endNext }
}

test('messages to systemd go in sequence', async t => {
  const { sent, send, turn, endNext } = standIn()
  const notifier = createNotifier(environment, send)
  const reloading = notifier.reloading()
  const ready = notifier.ready()
  await turn()
  t.same(sent, ['RELOADING=1'], 'the second one waits')
  await endNext()
  await reloading
  t.same(sent, ['RELOADING=1', `--pid=${process.pid} --ready`])
  let isReady = false
  void ready.then(() => {
    isReady = true
  })
  await turn()
  t.notOk(isReady, 'systemd does not know yet')
  await endNext()
  await ready
})

test('a stop is reported at once', async t => {
  const { sent, send, turn } = standIn()
  const notifier = createNotifier(environment, send)
  void notifier.ready()
  notifier.stopping()
  await turn()
  t.same(sent.sort(), [`--pid=${process.pid} --ready`, 'STOPPING=1'])
})

test('the watchdog names no main process, and sends no message while another one is under way', async t => {
  const { sent, send, endNext } = standIn()
  const tick = () => new Promise(resolve => setTimeout(resolve, 2))
  const notifier = createNotifier({ ...environment, WATCHDOG_USEC: '2000' }, send)
  while (sent.length === 0) await tick()
  for (let count = 0; count < 5; count++) await tick()
  t.same(sent, ['WATCHDOG=1'])
  await endNext()
  while (sent.length === 1) await tick()
  t.same(sent, ['WATCHDOG=1', 'WATCHDOG=1'])
  notifier.replaced()
})

test('outside of systemd, nothing is sent', async t => {
  const { sent, send } = standIn()
  const notifier = createNotifier({}, send)
  await notifier.ready()
  await notifier.reloading()
  notifier.stopping()
  notifier.replaced()
  t.same(sent, [])
})
