import { test } from 'tap'
import { type Patience, runClient, type Work } from './client-run.ts'

const work: Work = {
  direct: false,
  file: '',
  targets: {},
  behaviours: ['one', 'two', 'three'].map(id => ({ id, steps: [] })),
}
const patience: Patience = { behaviour: 60_000, client: 60_000 }

/** Tells its version, and for each behaviour that it is given runs `code`, which may name it as `id`. */
function client(code: string) {
  const program = `
    const print = line => process.stdout.write(JSON.stringify(line) + '\\n')
    print({ version: '1.2.3' })
    for (const { id } of JSON.parse(process.env.COMPAT).behaviours) { ${code} }
    process.exit()`
  return { command: [process.execPath, '--input-type=module', '--eval', program] }
}
const stop = 'await new Promise(() => setInterval(() => {}, 1_000))'

test('a client tells its version and what it saw', async t => {
  const { version, reports } = await runClient(client('print({ behaviour: id, values: [id] })'), work, patience)
  t.equal(version, '1.2.3')
  t.same(
    [...reports],
    ['one', 'two', 'three'].map(id => [id, { values: [id] }]),
  )
})

test('a client that stands still is started again for what is left', async t => {
  const run = await runClient(client(`if (id === 'two') ${stop}; print({ behaviour: id })`), work, {
    ...patience,
    behaviour: 1_500,
  })
  t.same(run.reports.get('two'), { error: [0, '', 'no answer within 1.5 s'] })
  t.same(run.reports.get('three'), {})
})

test('a client that ends is started again for what is left', async t => {
  const run = await runClient(
    client(`if (id === 'two') throw new Error('a fatal error'); print({ behaviour: id })`),
    work,
    patience,
  )
  t.match(run.reports.get('two'), { error: [0, '', /ended with 1: .*a fatal error/] })
  t.same(run.reports.get('three'), {})
})

test('a client that takes too long is stopped, and what it stood at is told', async t => {
  const slow = client(`if (id === 'two') ${stop}; print({ behaviour: id })`)
  await t.rejects(runClient(slow, work, { ...patience, client: 2_000 }), {
    message: 'stopped after 2 s through the proxy, at two, 2 left',
  })
})

test('a program that keeps the output open does not hold up the run', async t => {
  // In a group of its own, it outlives the client.
  const leaves = `
    const { spawn } = await import('node:child_process')
    const { pid } = spawn('sleep', ['60'], { detached: true, stdio: ['ignore', 'inherit', 'inherit'] })
    print({ behaviour: id, values: [pid] })`
  const run = await runClient(
    client(leaves),
    { ...work, behaviours: work.behaviours.slice(0, 1) },
    {
      ...patience,
      behaviour: 1_500,
    },
  )
  const pid = run.reports.get('one')?.values?.[0] as number
  t.doesNotThrow(() => process.kill(pid, 0), 'it is still there')
  process.kill(pid)
})

test('a client that is not there', async t => {
  await t.rejects(runClient({ command: ['/nonexistent/client'] }, work, patience))
})
