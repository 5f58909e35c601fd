import { once } from 'node:events'
import { lstat, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import type { Listen } from '../../src/endpoint.ts'
import { listenOn } from '../../src/net/listen.ts'
import { closeListener, openListeners } from '../../src/net/listeners.ts'

/** Answers each client with its name, after the client has sent its end. */
function named(name: string): Server {
  return createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => undefined)
    socket.resume().on('end', () => socket.end(name))
  })
}

async function ask(to: Listen): Promise<string> {
  const socket = connect('path' in to ? { path: to.path } : (to as { host: string; port: number }))
  socket.end('anybody?')
  let answer = ''
  for await (const chunk of socket) answer += chunk
  return answer
}

/** Short, as the path of a socket must be. */
async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

const places = async (t: Test): Promise<Listen[]> => [
  { host: '127.0.0.1', port: 0 },
  { path: join(await scratch(t), 'mysql.sock') },
]

test('a server takes over the socket of another', async t => {
  for (const listen of await places(t)) {
    const [one, two, three] = [named('one'), named('two'), named('three')] as const
    const address = await listenOn(one, listen, 'one')
    t.equal(await ask(address), 'one')
    t.same(await listenOn(two, listen, 'two', one), address)
    t.equal(await ask(address), 'two')
    t.same(await listenOn(three, listen, 'three', two), address, 'and on to a third one')
    t.equal(await ask(address), 'three', 'a client may send its end before it gets its answer')
    t.strictSame(
      openListeners().map(({ owner }) => owner),
      ['three'],
    )
    closeListener(three)
    await t.rejects(ask(address), { code: 'path' in listen ? 'ENOENT' : 'ECONNREFUSED' })
    t.same(openListeners(), [])
    await t.rejects(listenOn(named('four'), listen, 'four', three), /the predecessor does not listen/)
  }
})

test('an error of the one that accepts goes to the one that serves', async t => {
  const [one, two] = [named('one'), named('two')]
  await listenOn(one, { host: '127.0.0.1', port: 0 }, 'one')
  await listenOn(two, { host: '127.0.0.1', port: 0 }, 'two', one)
  t.teardown(() => closeListener(two))
  const failed = once(two, 'error')
  one.emit('error', new Error('too many open files'))
  t.match(await failed, [{ message: 'too many open files' }])
})

test('a unix socket: only this user, one name, removed by its process alone', async t => {
  const directory = await scratch(t)
  const path = join(directory, 'mysql.sock')
  const server = named('one')
  await listenOn(server, { path }, 'one')
  t.equal((await lstat(path)).mode & 0o777, 0o600)
  t.same(await readdir(directory), ['mysql.sock'], 'the temporary name is gone')
  await rename(path, `${path}.old`)
  await writeFile(path, 'of another process')
  closeListener(server)
  t.same((await readdir(directory)).sort(), ['mysql.sock', 'mysql.sock.old'], 'the file of another stays')
})
