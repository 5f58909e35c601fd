import { test } from 'tap'
import type { Clock } from '../../src/clock.ts'
import { type Limits, runClient, type Work } from './client-run.ts'

const work: Work = {
  direct: false,
  file: '',
  targets: {},
  behaviours: ['one', 'two', 'three'].map(id => ({ id, steps: [] })),
}
const limits: Limits = { behaviour: 600_000, client: 600_000 }

/** A clock whose `nth` timer is up after `milliseconds`, and no other. Each line of a client starts a timer. */
function clockFor(nth: number, milliseconds: number): Clock {
  let [now, timers] = [0, 0]
  return {
    now: () => now,
    after(_milliseconds, work) {
      timers++
      if (timers === nth) {
        now += milliseconds
        setImmediate(work)
      }
      return () => {}
    },
  }
}

/** A client that reports its version, and runs `code` with the `id` of each behaviour. */
function client(code: string) {
  const program = `
    const print = line => process.stdout.write(JSON.stringify(line) + '\\n')
    print({ version: '1.2.3' })
    for (const { id } of JSON.parse(process.env.COMPAT).behaviours) { ${code} }
    process.exit()`
  return { command: [process.execPath, '--input-type=module', '--eval', program] }
}
const hang = 'await new Promise(() => setInterval(() => {}, 1_000))'

test('a client reports its version and its results', async t => {
  const { version, reports } = await runClient(client('print({ behaviour: id, values: [id] })'), work, limits)
  t.equal(version, '1.2.3')
  t.same(
    [...reports],
    ['one', 'two', 'three'].map(id => [id, { values: [id] }]),
  )
})

test('a client that hangs is restarted for the remaining behaviours', async t => {
  const run = await runClient(
    client(`if (id === 'two') ${hang}; print({ behaviour: id })`),
    work,
    limits,
    clockFor(3, 0),
  )
  t.same(run.reports.get('two'), { error: [0, '', 'no answer within 600 s'] })
  t.same(run.reports.get('three'), {})
})

test('a client that exits is restarted for the remaining behaviours', async t => {
  const run = await runClient(
    client(`if (id === 'two') throw new Error('a fatal error'); print({ behaviour: id })`),
    work,
    limits,
  )
  t.match(run.reports.get('two'), { error: [0, '', /exited with 1: .*a fatal error/] })
  t.same(run.reports.get('three'), {})
})

test('a client that exceeds the limit of the run is stopped, and the error names the behaviour', async t => {
  const slow = client(`if (id === 'two') ${hang}; print({ behaviour: id })`)
  await t.rejects(runClient(slow, work, limits, clockFor(3, limits.client)), {
    message: 'stopped after 600 s through the proxy, at two, 2 left',
  })
})

test('a child process that keeps the output open does not block the run', async t => {
  // In a separate process group, it outlives the client.
  const leaves = `
    const { spawn } = await import('node:child_process')
    const { pid } = spawn('sleep', ['60'], { detached: true, stdio: ['ignore', 'inherit', 'inherit'] })
    print({ behaviour: id, values: [pid] })`
  const run = await runClient(
    client(leaves),
    { ...work, behaviours: work.behaviours.slice(0, 1) },
    limits,
    clockFor(3, 0),
  )
  const pid = run.reports.get('one')?.values?.[0] as number
  t.doesNotThrow(() => process.kill(pid, 0), 'it is still running')
  process.kill(pid)
})

test('a client that cannot start', async t => {
  await t.rejects(runClient({ command: ['/nonexistent/client'] }, work, limits))
})
