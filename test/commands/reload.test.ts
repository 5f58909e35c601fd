import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { reload } from '../../src/commands/reload.ts'
import { runningProxy } from '../../src/commands/running-proxy.ts'
import { stopProxy } from '../../src/commands/stop.ts'
import { openControl } from '../../src/net/control.ts'
import { PROGRAM } from '../support/program.ts'
import { startProgram } from '../support/start-program.ts'

const CONFIG = `endpoints:
  - name: orders
    rds-endpoint: orders.abc.eu-west-1.rds.amazonaws.com
    listen: 127.0.0.1:0
`

/** A socket's path has 103 bytes at most. */
async function shortDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'control-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function scene(t: Test) {
  const home = await shortDirectory(t)
  await writeFile(join(home, 'config.yaml'), CONFIG)
  const environment = { HOME: home, XDG_RUNTIME_DIR: join(home, 'run'), RUNTIME_DIRECTORY: '' }
  await mkdir(environment.XDG_RUNTIME_DIR, { mode: 0o700 })
  const file = join(home, 'config.yaml')
  const [command, ...first] = PROGRAM
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_|XDG_)/.test(name))
  const env = { ...Object.fromEntries(inherited), ...environment }
  const call = (...words: string[]) => promisify(execFile)(command, [...first, ...words], { env })
  const start = () => startProgram(t, ['--config', file, '--log-level', 'debug'], environment)
  return { home, file, call, start, folder: join(environment.XDG_RUNTIME_DIR, 'mysql-iam-proxy') }
}

test('reload and stop reach a running proxy', async t => {
  const { file, call, start, folder } = await scene(t)
  await t.rejects(call('reload'), { code: 1, stderr: /^mysql-iam-proxy: no proxy of this user runs\n/ })
  const proxy = start()
  await proxy.logged('control channel')
  t.same(await readdir(folder), [`${proxy.child.pid}.sock`])

  await appendFile(file, CONFIG.split('\n').slice(1).join('\n').replaceAll('orders', 'shop'))
  const { stdout } = await call('reload')
  t.match(
    stdout,
    new RegExp(`^Proxy ${proxy.child.pid} has read ${file} again\\. It listens on 127\\.0\\.0\\.1:\\d+, 1`),
  )
  await proxy.logged('configuration read again')

  await writeFile(file, 'endpoints: [{ listen: 127.0.0.1:0 }]\n')
  await t.rejects(call('reload'), {
    code: 2,
    stderr: /^mysql-iam-proxy: proxy \d+: the previous configuration stays active: /,
  })

  await t.rejects(call('stop', '--pid', '1'), {
    code: 1,
    stderr: /no proxy of this user has the process id 1; there are \d/,
  })
  const exit = once(proxy.child, 'exit')
  t.match((await call('stop')).stderr, `Proxy ${proxy.child.pid} has stopped.\n`)
  t.same(await exit, [0, null])
  t.same(await readdir(folder), [])
})

test('several proxies: --pid names one', async t => {
  const { call, start } = await scene(t)
  const [one, two] = [start(), start()]
  await Promise.all([one.logged('control channel'), two.logged('control channel')])
  await t.rejects(call('stop'), {
    code: 2,
    stderr: /several proxies run; name one with --pid: \d+ \(127\.0\.0\.1:\d+, /,
  })
  const exit = once(one.child, 'exit')
  await call('stop', '--pid', String(one.child.pid))
  t.same(await exit, [0, null])
  await call('reload')
  two.child.kill('SIGKILL')
  await once(two.child, 'exit')
  await t.rejects(call('reload'), { code: 1, stderr: /no proxy of this user runs/ }, 'what it left does not count')
})

test('a proxy without a folder for the channel serves anyway', async t => {
  const { home } = await scene(t)
  const environment = {
    HOME: join(home, 'config.yaml'),
    XDG_RUNTIME_DIR: join(home, 'config.yaml'),
    RUNTIME_DIRECTORY: '',
  }
  const proxy = startProgram(t, ['--config', join(home, 'config.yaml'), '--log-level', 'debug'], environment)
  const { level, msg } = await proxy.logged('control channel')
  t.equal(level, 'debug')
  t.match(msg, /^no control channel: /)
  t.ok(proxy.lines().some(line => line.msg.startsWith('listening on ')))
})

test('what the commands say', async t => {
  const home = join(await shortDirectory(t), 'control')
  const status = { pid: 7, version: '1', config: null, listen: ['127.0.0.1:1'], sessions: 2, drainMs: 10_000 }
  const control = await openControl(
    { runtime: [], home },
    { status: () => status, reload: async () => {}, upgrade: async () => 8, stop: () => void control.close() },
  )
  t.teardown(() => control.close())
  const proxy = await runningProxy({ pid: '7' }, { runtime: [], home })
  const never = new AbortController()
  t.equal(
    await reload(proxy, never.signal),
    'Proxy 7 has no configuration file. It read again the files that its options name.',
  )
  const said: string[] = []
  const stop = new AbortController()
  const stopping = stopProxy(
    proxy,
    text => {
      said.push(text)
      setImmediate(() => stop.abort())
    },
    stop.signal,
  )
  await t.rejects(stopping)
  t.same(said, ['Proxy 7 stops: 2 sessions have 10s to finish transactions.'])
})
