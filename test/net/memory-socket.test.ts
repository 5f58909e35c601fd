/** A connection in memory behaves as one over TCP: order, back-pressure, half-close, and what a closed end does to the other. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { createMemoryConnection } from '../../src/net/memory-socket.ts'

function create(t: Test) {
  const ends = createMemoryConnection()
  const errors: string[] = []
  for (const [name, stream] of Object.entries(ends)) {
    stream.on('error', error => errors.push(`${name}: ${(error as NodeJS.ErrnoException).code}`))
    t.teardown(() => stream.destroy())
  }
  return { ...ends, errors }
}

/** All that a stream has until its end. It stays open for writing. */
async function buffer(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', chunk => chunks.push(chunk))
  if (!stream.readableEnded) await new Promise(resolve => stream.once('end', resolve))
  return Buffer.concat(chunks)
}

/** Resolves when the stream is closed, whether it failed or not. */
async function closing(stream: Duplex): Promise<void> {
  if (!stream.closed) await new Promise(resolve => stream.once('close', resolve))
}

test('bytes arrive in order, both ways, whatever their sizes', async t => {
  const { client, server } = create(t)
  const sizes = [1, 0, 3, 70_000, 64 * 1024, 200_001, 5]
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    const chunks = sizes.map(size => randomBytes(size))
    for (const chunk of chunks) from.write(chunk)
    from.cork()
    for (const chunk of chunks) from.write(chunk)
    from.uncork()
    from.end()
    const all = Buffer.concat([...chunks, ...chunks])
    t.ok((await buffer(to)).equals(all))
    if (to === server) t.equal(server.bytesRead, all.length)
  }
  await closing(client)
})

test('nothing arrives within the call of write', async t => {
  const { client, server } = create(t)
  let arrived = false
  server.on('data', () => {
    arrived = true
  })
  await setImmediate()
  client.write('x')
  t.notOk(arrived)
  await setImmediate()
  t.ok(arrived)
})

test('a reader gets a copy, which the writer may overwrite or free', async t => {
  const { client, server } = create(t)
  const chunk = Buffer.alloc(100_000, 'a')
  client.write(chunk, () => chunk.fill('b'))
  await setImmediate()
  client.end()
  const read = await buffer(server)
  t.equal(read.length, 100_000)
  t.notOk(read.includes('b'))
})

test('a reader that does not read makes the writer wait', async t => {
  const { client, server } = create(t)
  let written = false
  t.notOk(
    client.write(Buffer.alloc(1_000_000), () => {
      written = true
    }),
  )
  for (let turn = 0; turn < 10; turn++) await setImmediate()
  t.notOk(written)
  t.ok(server.readableLength < 200_000, `${server.readableLength} bytes wait`)
  t.equal(client.writableLength, 1_000_000)
  server.resume()
  await once(client, 'drain')
  t.ok(written)
})

test('an end (FIN) leaves the other direction open for the proxy', async t => {
  const { client, server, errors } = create(t)
  client.end('last words')
  t.equal((await buffer(server)).toString(), 'last words')
  t.notOk(server.destroyed)
  server.end('answer')
  t.equal((await buffer(client)).toString(), 'answer')
  await closing(client)
  t.same(errors, [])
})

test('a client library closes when the proxy ends', async t => {
  const { client, server, errors } = create(t)
  client.resume()
  server.resume()
  server.end()
  await Promise.all([closing(client), closing(server)])
  t.same(errors, [])
})

test('an end that is destroyed ends the other one', async t => {
  for (const [name, other] of [
    ['client', 'server'],
    ['server', 'client'],
  ] as const) {
    await t.test(name, async t => {
      const ends = create(t)
      ends[name].write('before')
      await setImmediate()
      ends[name].destroy()
      t.equal((await buffer(ends[other])).toString(), 'before')
      if (ends[other].destroyed) return
      ends[other].write('too late')
      await closing(ends[other])
      t.same(ends.errors, [`${other}: EPIPE`])
    })
  }
})

test('a write that waits fails when the other end is destroyed', async t => {
  const { client, server, errors } = create(t)
  client.write(Buffer.alloc(1_000_000))
  await setImmediate()
  server.destroy()
  await closing(client)
  t.same(errors, ['client: EPIPE'])
})

test('a writer that is destroyed leaves what had arrived', async t => {
  const { client, server, errors } = create(t)
  client.write(Buffer.alloc(1_000_000))
  await setImmediate()
  client.destroy()
  t.ok((await buffer(server)).length > 0)
  t.same(errors, [])
})

test('destroySoon delivers what waits', async t => {
  const { client, server } = create(t)
  server.write(Buffer.alloc(300_000))
  server.destroySoon()
  t.equal((await buffer(client)).length, 300_000)
  await closing(server)
})

test('what client libraries call on a socket does nothing', t => {
  const { client } = create(t)
  const socket = client as unknown as { unref(): unknown; setNoDelay(on: boolean): unknown }
  t.equal(socket.unref(), client)
  t.equal(socket.setNoDelay(true), client)
  t.end()
})
