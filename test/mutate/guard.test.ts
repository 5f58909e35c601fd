import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Test, test } from 'tap'

const guard = new URL('guard.mjs', import.meta.url).href

/** What a process that tries mutants does with a mutant in an endless loop, and its arguments. */
const ENDLESS = ['--import', guard, '--eval', 'require("fs").writeSync(1, "started"); for (;;) {}']
const GREEDY = ['--import', guard, '--eval', 'const all = []; for (;;) all.push(Buffer.alloc(2 ** 20, 1))']

function start(t: Test, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...env } })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

test('a process that loops for ever is killed once its parent has exited', async t => {
  const program = `
    const child = require('child_process').spawn(process.execPath, ${JSON.stringify(ENDLESS)}, {
      stdio: ['ignore', 'inherit', 'ignore'], detached: true
    })
    child.on('exit', () => console.log('too early'))`
  const parent = start(t, ['--eval', program])
  let output = ''
  parent.stdout!.setEncoding('utf8').on('data', text => {
    output += text
    if (output === 'started') parent.kill('SIGKILL')
  })
  await once(parent.stdout!, 'close')
  t.equal(output, 'started', 'both have closed their stdout')
})

test('a process that takes too much memory is killed', async t => {
  const child = start(t, GREEDY, { MUTATE_MAX_RSS_BYTES: String(2 ** 28) })
  const [code, signal] = await once(child, 'exit')
  t.same([code, signal], [null, 'SIGKILL'])
})

test('any other process runs and exits as usual', async t => {
  const child = start(t, ['--import', guard, '--eval', 'process.exitCode = 3'])
  t.same(await once(child, 'exit'), [3, null])
})
