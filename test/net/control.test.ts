import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import {
  ask,
  askToStop,
  type ControlActions,
  type ControlStatus,
  type ControlSystem,
  findProxies,
  openControl,
} from '../../src/net/control.ts'
import { type ControlFolders, controlFolders } from '../../src/net/control-place.ts'

const STATUS: ControlStatus = {
  pid: process.pid,
  version: '1.2.3',
  config: '/etc/proxy.yaml',
  listen: ['127.0.0.1:3306'],
  sessions: 2,
  drainMs: 10_000,
}

/** A socket's path has 103 bytes at most. */
async function shortDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'control-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** A channel with notes of what it was asked. */
async function channel(
  t: Test,
  actions: Partial<ControlActions> = {},
  system?: ControlSystem,
  folders?: ControlFolders,
) {
  const asked: string[] = []
  const home = join(await shortDirectory(t), 'a', 'control')
  const where = folders ?? { runtime: [], home }
  const control = await openControl(
    where,
    {
      status: () => STATUS,
      reload: async () => void asked.push('reload'),
      upgrade: async () => 4712,
      stop: () => void asked.push('stop'),
      ...actions,
    },
    system,
  )
  t.teardown(() => control.close())
  return { asked, control, where, home }
}

/** Named pipes as sockets in a folder, so that the code for Windows runs here. */
function windowsIn(folder: string): ControlSystem {
  return { platform: 'win32', pipes: `${folder}/` }
}

test('controlFolders: the places of each system', t => {
  t.same(controlFolders({ HOME: '/home/ada', XDG_RUNTIME_DIR: '/run/user/7' }, 'linux', 7), {
    runtime: ['/run/user/7/mysql-iam-proxy'],
    home: '/home/ada/.local/state/mysql-iam-proxy',
  })
  t.same(
    controlFolders({ RUNTIME_DIRECTORY: '/run/mysql-iam-proxy:/run/b', XDG_STATE_HOME: '/state' }, 'linux', 61000),
    { runtime: ['/run/mysql-iam-proxy', '/run/user/61000/mysql-iam-proxy'], home: '/state/mysql-iam-proxy' },
  )
  t.same(controlFolders({ XDG_RUNTIME_DIR: 'relative', HOME: '' }, 'linux', 0), {
    runtime: ['/run/mysql-iam-proxy'],
    home: undefined,
  })
  t.same(controlFolders({ XDG_RUNTIME_DIR: '/run/user/0' }, 'linux', 0).runtime, ['/run/user/0/mysql-iam-proxy'])
  t.same(controlFolders({ HOME: '/Users/ada' }, 'darwin', 501), {
    runtime: [],
    home: '/Users/ada/Library/Application Support/mysql-iam-proxy/control',
  })
  t.same(controlFolders({ LOCALAPPDATA: 'C:\\L' }, 'win32', undefined), {
    runtime: [],
    home: 'C:\\L\\mysql-iam-proxy\\control',
  })
  t.same(
    controlFolders({ USERPROFILE: 'C:\\U' }, 'win32', undefined).home,
    'C:\\U\\AppData\\Local\\mysql-iam-proxy\\control',
  )
  t.equal(controlFolders({}, 'win32', undefined).home, undefined)
  t.end()
})

for (const platform of ['posix', 'windows'] as const) {
  const systemIn = (folder: string) => (platform === 'windows' ? windowsIn(folder) : undefined)

  test(`${platform}: a proxy is found, reloads and stops`, async t => {
    const system = systemIn(await shortDirectory(t))
    const { asked, control, where, home } = await channel(t, {}, system)
    t.same(await findProxies(where, system), [{ ...STATUS, address: control.address }])
    t.same(await ask(control.address, 'reload'), STATUS)
    t.same(asked, ['reload'])
    t.equal((await stat(home)).mode & 0o777, 0o700, 'the folder is for its user only')
    const [name] = await readdir(home)
    t.equal((await stat(join(home, name!))).mode & 0o777, 0o600, 'and so is the channel')
    t.equal(name, `${process.pid}.${platform === 'windows' ? 'pipe' : 'sock'}`)
    await control.close()
    t.same(await readdir(home), [])
    t.same(await findProxies(where, system), [])
  })

  test(`${platform}: what a killed proxy has left is removed`, async t => {
    const pipes = await shortDirectory(t)
    await mkdir(join(pipes, 'home'))
    const system = systemIn(pipes)
    const where = { runtime: [], home: join(pipes, 'home') }
    const left = join(where.home, `4711.${platform === 'windows' ? 'pipe' : 'sock'}`)
    await writeFile(left, platform === 'windows' ? join(pipes, 'nowhere') : '')
    await writeFile(join(where.home, 'notes.txt'), '')
    t.same(await findProxies(where, system), [])
    t.same(await readdir(where.home), ['notes.txt'], 'other files stay')
  })
}

test('a reload that fails says why', async t => {
  const { control } = await channel(t, {
    reload: () => Promise.reject(new ProxyError('CONFIG_INVALID', 'line 3: bad', { hint: 'Fix line 3.' })),
  })
  t.same(await ask(control.address, 'reload'), {
    error: { code: 'CONFIG_INVALID', message: 'line 3: bad', hint: 'Fix line 3.' },
  })
})

test('askToStop waits until the process has exited', async t => {
  let connections = 0
  const path = join(await shortDirectory(t), 's')
  const asked = new Promise<import('node:net').Socket>(resolve => {
    const server = createServer(socket => {
      connections++
      socket.once('data', () => {
        socket.write(`${JSON.stringify(STATUS)}\n`)
        resolve(socket)
      })
    }).listen(path)
    t.teardown(() => server.close())
  })
  let isDone = false
  const stopping = askToStop(path).then(() => {
    isDone = true
  })
  const socket = await asked
  await new Promise(setImmediate)
  t.notOk(isDone, 'the connection is open')
  socket.destroy()
  await stopping
  t.equal(connections, 1)
})

test('stop: the answer comes before the stop, and the connection stays open', async t => {
  const { asked, control } = await channel(t)
  const socket = connect(control.address)
  socket.write('stop\n')
  const [data] = (await once(socket, 'data')) as [Buffer]
  t.same(JSON.parse(data.toString()), STATUS)
  t.same(asked, ['stop'])
  t.notOk(socket.readableEnded)
  socket.destroy()
})

test('a request that is unknown, too long or silent changes nothing', async t => {
  const { asked, control } = await channel(t)
  for (const text of ['faster\n', '\n', 'x'.repeat(200_000)]) {
    const socket = connect(control.address).on('error', () => {})
    socket.end(text)
    let said = ''
    socket.on('data', chunk => {
      said += chunk
    })
    await new Promise(resolve => socket.once('close', resolve))
    t.equal(said, '')
  }
  await t.rejects(ask(control.address, 'other' as 'status'), {
    code: 'PROXY_NOT_FOUND',
    message: 'the proxy closed the connection without an answer',
  })
  t.same(asked, [])
})

test('a folder that other users can write to has no proxies, except for root', async t => {
  const { where, home } = await channel(t)
  t.equal((await findProxies(where, undefined, 1)).length, 1)
  await chmod(home, 0o777)
  t.same(await findProxies(where, undefined, 1), [])
  t.equal((await findProxies(where, undefined, 0)).length, 1, 'root finds the proxies of a service')
})

test('the wait ends with its signal', async t => {
  const never = new Promise<void>(() => {})
  const { control } = await channel(t, { reload: () => never })
  const stop = new AbortController()
  const waiting = ask(control.address, 'reload', stop.signal)
  setImmediate(() => stop.abort())
  await t.rejects(waiting)
  const second = new AbortController()
  const stopping = askToStop(control.address, second.signal)
  setImmediate(() => second.abort())
  await t.rejects(stopping)
})

test('the next folder is used where one does not work, and an error says why none works', async t => {
  const directory = await shortDirectory(t)
  await writeFile(join(directory, 'file'), 'not a folder')
  await mkdir(join(directory, 'open'))
  await chmod(join(directory, 'open'), 0o777)
  const runtime = [join(directory, 'missing/proxy'), join(directory, 'file'), join(directory, 'open')]
  const actions = { status: () => STATUS, reload: async () => {}, upgrade: async () => 4712, stop: () => {} }
  await t.rejects(openControl({ runtime, home: undefined }, actions), {
    code: 'CONFIG_INVALID',
    message: /other users can write to/,
  })
  await t.rejects(openControl({ runtime: [], home: undefined }, actions), /no home directory/)
  const long = join(directory, 'long'.repeat(30))
  await t.rejects(
    openControl({ runtime: [long], home: undefined }, actions),
    { code: 'CONFIG_INVALID' },
    'a path that a socket cannot have',
  )
  const { control } = await channel(t, {}, undefined, { runtime, home: join(directory, 'home') })
  t.equal(control.address, join(directory, 'home', `${process.pid}.sock`))
  t.match(await findProxies({ runtime, home: join(directory, 'home') }), [STATUS])
})

test('windows: without the file of its name, the pipe is closed again', async t => {
  const pipes = await shortDirectory(t)
  const home = join(pipes, 'home')
  await mkdir(join(home, `${process.pid}.pipe`), { recursive: true })
  const actions = { status: () => STATUS, reload: async () => {}, upgrade: async () => 4712, stop: () => {} }
  await t.rejects(openControl({ runtime: [], home }, actions, windowsIn(pipes)), { code: 'EISDIR' })
  t.same(await readdir(pipes), ['home'])
  t.same(await findProxies({ runtime: [], home }, windowsIn(pipes)), [])
})
