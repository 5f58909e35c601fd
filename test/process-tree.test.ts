import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'tap'
import { descendantsIn, descendantsOf, killTree } from '../src/process-tree.ts'

test('killTree ends a program and what it has started', async t => {
  const child = spawn('/bin/sh', ['-c', 'sleep 600 & echo $!; wait'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const grandchild = Number(line.toString())
  t.same(descendantsOf(child.pid!, 'linux'), [grandchild])
  const closed = once(child, 'close') // when nobody has the pipe any more
  killTree(child.pid!)
  t.same(await closed, [null, 'SIGKILL'])
})

test('Windows: taskkill ends the tree', t => {
  const started: unknown[] = []
  killTree(4711, 'win32', (program, args) => started.push([program, ...args]))
  t.same(started, [['taskkill.exe', '/PID', '4711', '/T', '/F']])
  t.doesNotThrow(() => killTree(2 ** 30, 'win32'), 'a missing program')
  t.end()
})

test('descendants in the output of ps', t => {
  const table = '    1     0\n  100     1\n  101   100\n  102   101\n  103     1\n    0     0\n'
  t.same(descendantsIn(table, 100), [101, 102])
  t.same(descendantsIn(table, 103), [])
  t.same(descendantsIn('', 1), [])
  t.end()
})

test('a process that does not exist has no descendants', t => {
  for (const platform of ['linux', 'darwin'] as const) t.same(descendantsOf(2 ** 30, platform), [])
  t.doesNotThrow(() => killTree(2 ** 30))
  t.end()
})
