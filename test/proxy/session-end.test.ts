import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { type RealServer, realServer } from '../support/mariadb.ts'
import {
  COM_QUERY,
  connect,
  connectRaw,
  logInRaw,
  queryRaw,
  type RawClient,
  readPacket,
  readRows,
  sendCommand,
  startProxy,
  type TestProxy,
  until,
  value,
} from '../support/raw-client.ts'

const ROW = 1_000_000
/** Random and longer than what is compressed at a time, so that rows stay large on a compressed session. */
const NOISE = randomBytes(93_750).toString('base64')
const FULL_ROW = Buffer.alloc(ROW, NOISE)
const MD5_LENGTH = 32

test('how sessions end', async t => {
  const server = await realServer(t)

  await t.test('TCP keepalive probes on both legs', async t => {
    for (const keepalive of [30_000, 200_000]) {
      const proxy = await startProxy(t, server, { keepalive })
      const connection = await connect(proxy)
      const ours = async () =>
        (await keepaliveTimers()).filter(
          ({ localPort, remotePort }) => localPort === proxy.port || remotePort === server.port,
        )
      // Until the last packet is acknowledged, another timer runs.
      await until('both legs have the timer', async () => (await ours()).length === 2)
      const timers = await ours()
      for (const { seconds } of timers)
        t.ok(seconds > keepalive / 2000 && seconds <= keepalive / 1000 + 1, `${seconds} s`)
      await connection.end()
      await proxy.close()
    }
  })

  await t.test('a client that stays connected after its server has closed keeps nothing open', async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    const end = once(client.socket.resume(), 'end')
    await server.query(`KILL CONNECTION ${client.greeting.threadId}`)
    await end
    await until('the session has ended', () => sessionsEnded(proxy).length === 1)
    t.match(sessionsEnded(proxy), [{ endedBy: 'server closed' }])
    client.socket.destroy()
  })

  await t.test('KILL QUERY by the thread id of the greeting', async t => {
    const proxy = await startProxy(t, server)
    const [running, killer] = await Promise.all([connect(proxy), connect(proxy)])
    const answer = running.query('SELECT SLEEP(600)').then(
      () => undefined,
      error => error,
    )
    await until('the query runs', async () => (await threadInfo(server, running.threadId))?.includes('SLEEP') ?? false)
    await killer.query(`KILL QUERY ${running.threadId}`)
    t.match(await answer, { errno: 1317, sqlState: '70100' })
    t.equal(await value(running, 'SELECT 1'), 1, 'the session goes on')
    await Promise.all([running.end(), killer.end()])
  })

  for (const how of ['a FIN', 'an RST'] as const) {
    await t.test(`when a client disconnects with ${how} during a result, its server thread ends`, async t => {
      const proxy = await startProxy(t, server)
      const client = await logInRaw(proxy)
      const threadId = client.greeting.threadId
      const rows = queryRaw(client, bigQuery(200))
      await rows.next()
      t.match(await threadInfo(server, threadId), /md5/)
      if (how === 'an RST') client.socket.resetAndDestroy()
      else client.socket.destroy()
      await until('the thread is gone', async () => (await threadInfo(server, threadId)) === undefined)
      await expectNothingLeft(proxy)
      // A system that has unread data sends an RST behind its FIN: which one the proxy sees first depends on the moment.
      const endedBy = how === 'an RST' ? 'client reset' : /^client (closed|reset)$/
      t.match(sessionsEnded(proxy), [{ threadId, endedBy }])
    })
  }

  await t.test('when a client disconnects between queries, its server thread ends', async t => {
    const proxy = await startProxy(t, server)
    const connection = await connect(proxy)
    connection.destroy()
    await until('the thread is gone', async () => (await threadInfo(server, connection.threadId)) === undefined)
    await expectNothingLeft(proxy)
    t.match(sessionsEnded(proxy), [{ threadId: connection.threadId, endedBy: 'client closed', cause: undefined }])
  })

  await t.test("KILL CONNECTION: the client's connection ends", async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    const end = once(client.socket, 'end')
    client.socket.resume()
    await server.query(`KILL CONNECTION ${client.greeting.threadId}`)
    await end
    client.socket.end()
    await expectNothingLeft(proxy)
    t.match(sessionsEnded(proxy), [{ endedBy: 'server closed' }])
  })

  await t.test('KILL CONNECTION during a query', async t => {
    const proxy = await startProxy(t, server)
    const connection = await connect(proxy)
    const answer = connection.query('SELECT SLEEP(600)').then(
      () => undefined,
      error => error,
    )
    const running = async () => (await threadInfo(server, connection.threadId))?.includes('SLEEP') ?? false
    await until('the query runs', running)
    await server.query(`KILL CONNECTION ${connection.threadId}`)
    t.type(await answer, Error)
    await expectNothingLeft(proxy)
  })

  await t.test('half-close: a client that sends a query and closes its side gets the whole result', async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    sendCommand(client, COM_QUERY, bigQuery(30))
    client.socket.end()
    await once(client.socket, 'readable')
    t.equal(await expectBigResult(client), 30)
    await t.rejects(readPacket(client.socket), /ended 4 bytes short/, 'then an end, and no reset')
    t.ok(client.socket.readableEnded)
    await expectNothingLeft(proxy)
    t.match(sessionsEnded(proxy), [{ endedBy: 'client closed', cause: undefined }])
  })

  await t.test("COM_QUIT: the client's connection ends without a reset", async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    let failure: Error | undefined
    client.socket.on('error', error => {
      failure = error
    })
    sendCommand(client, 0x01)
    await t.rejects(readPacket(client.socket), /ended/)
    t.ok(client.socket.readableEnded)
    t.equal(failure, undefined)
    client.socket.end()
    await expectNothingLeft(proxy)
  })

  await t.test('back-pressure: an unread result stays on the server', async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    const before = process.memoryUsage().rss
    sendCommand(client, COM_QUERY, bigQuery(200))
    let most = 0
    let [waiting, unchanged] = ['', 0]
    // The server waits for its client once all buffers are full.
    while (unchanged < 20) {
      await sleep(50)
      most = Math.max(most, process.memoryUsage().rss - before)
      const now = `${client.socket.bytesRead} ${await threadInfo(server, client.greeting.threadId)}`
      unchanged = client.socket.bytesRead > 0 && now === waiting ? unchanged + 1 : 0
      waiting = now
    }
    t.ok(most < 64 << 20, `${Math.round(most / 2 ** 20)} MiB more than before`)
    t.ok(client.socket.bytesRead < 10 * ROW, `the client has taken ${client.socket.bytesRead} bytes`)
    t.match(await threadInfo(server, client.greeting.threadId), /md5/, 'the server has not finished')
    t.equal(await expectBigResult(client), 200, 'and then all of it arrives')
    client.socket.end()
    await expectNothingLeft(proxy)
  })

  await t.test('back-pressure: a statement that the server does not read stays with the client', async t => {
    const proxy = await startProxy(t, server)
    const client = await logInRaw(proxy)
    // The server reads nothing while it waits for the lock.
    const holder = await connect(proxy)
    await holder.query("SELECT GET_LOCK('back-pressure', 600)")
    sendCommand(client, COM_QUERY, "SELECT GET_LOCK('back-pressure', 600)")
    // Random, so that it stays large on a compressed session.
    const text = randomBytes(11_250_000).toString('base64')
    for (let i = 0; i < 8; i++) sendCommand(client, COM_QUERY, `SELECT LENGTH('${text}')`)
    let [unsent, unchanged] = [0, 0]
    while (unchanged < 20) {
      await sleep(50)
      unchanged = client.socket.writableLength === unsent ? unchanged + 1 : 0
      unsent = client.socket.writableLength
    }
    t.ok(unsent > 80_000_000, `${unsent} of 120,000,000 bytes still in the client`)
    await holder.query("SELECT RELEASE_LOCK('back-pressure')")
    for (let i = 0; i < 9; i++) {
      for await (const row of readRows(client)) t.equal(row.toString(), i === 0 ? '1' : String(text.length))
    }
    holder.destroy()
    client.socket.end()
    await expectNothingLeft(proxy)
  })

  await t.test('close() ends idle and busy sessions and leaves nothing behind', async t => {
    const sockets = openSockets()
    const proxy = await startProxy(t, server)
    const idle = await Promise.all([connect(proxy), connect(proxy), connect(proxy)])
    const busy = await logInRaw(proxy)
    sendCommand(busy, COM_QUERY, 'SELECT SLEEP(600)')
    const stalled = await logInRaw(proxy)
    sendCommand(stalled, COM_QUERY, bigQuery(200))
    const unfinished = await connectRaw(proxy) // in the middle of its login
    const ids = [...idle, busy.greeting, stalled.greeting].map(({ threadId }) => threadId)
    const ends = idle.map(connection => new Promise(resolve => connection.on('error', resolve)))
    await proxy.close()
    await Promise.all(ends)
    const left = async () =>
      (await Promise.all(ids.map(id => threadInfo(server, id)))).filter(info => info !== undefined)
    await until('idle and stalled threads are gone', async () => {
      // The thread of a sleeping query may notice later.
      return (await left()).every(info => info.includes('SLEEP'))
    })
    await server.query(`KILL CONNECTION ${busy.greeting.threadId}`).catch(() => {})
    for (const { socket } of [busy, stalled, unfinished]) socket.destroy()
    await t.rejects(connect(proxy), { code: 'ECONNREFUSED' })
    await until('no socket is left', () => openSockets() <= sockets)
  })
})

/** Rows of a million bytes, each another one. */
function bigQuery(rows: number): string {
  const noise = `REPEAT('${NOISE}', ${ROW / NOISE.length})`
  return `SELECT CONCAT(md5(seq), SUBSTRING(${noise}, ${MD5_LENGTH + 1})) FROM lab.seq_1_to_${rows}`
}

/** Reads the answer to bigQuery, and throws if a row is not what it should be. */
async function expectBigResult(client: RawClient): Promise<number> {
  let rows = 0
  for await (const row of readRows(client)) {
    rows++
    const md5 = createHash('md5').update(String(rows)).digest('hex')
    const isAsSent = row.equals(Buffer.concat([Buffer.from(md5), FULL_ROW.subarray(MD5_LENGTH)]))
    if (!isAsSent) throw new Error(`row ${rows} of ${row.length} bytes is not as sent`)
  }
  return rows
}

/** Linux's table of connections: those of this process whose next timer is the one for keepalive, and when it goes off. */
async function keepaliveTimers(): Promise<{ localPort: number; remotePort: number; seconds: number }[]> {
  const links = (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  const ours = new Set((await Promise.all(links)).map(link => /^socket:\[(\d+)\]$/.exec(link)?.[1]))
  const [, ...lines] = (await readFile('/proc/net/tcp', 'utf8')).trim().split('\n')
  const connections = lines.map(line => {
    const [, local = '', remote = '', state, , timer = '', , , , inode] = line.trim().split(/\s+/)
    const [kind, ticks = '0'] = timer.split(':')
    const port = (address: string) => Number.parseInt(address.split(':')[1] ?? '', 16)
    const seconds = Number.parseInt(ticks, 16) / 100
    return { localPort: port(local), remotePort: port(remote), state, kind, inode, seconds }
  })
  return connections.filter(({ state, kind, inode }) => state === '01' && kind === '02' && ours.has(inode))
}

/** What a thread of the server does ('' for nothing); undefined if there is no such thread. */
async function threadInfo(server: RealServer, threadId: number): Promise<string | undefined> {
  const sql = `SELECT COALESCE(INFO, '') AS info FROM information_schema.PROCESSLIST WHERE ID = ${threadId}`
  const [row] = (await server.query(sql)) as { info: string }[]
  return row?.info
}

function sessionsEnded({ log }: TestProxy): Record<string, unknown>[] {
  return log.filter(({ message }) => message === 'session ended').map(({ fields }) => fields)
}

/** This process's, which are also the proxy's on both sides. */
function openSockets(): number {
  return process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length
}

async function expectNothingLeft({ log }: TestProxy): Promise<void> {
  const count = (message: string) => log.filter(line => line.message === message).length
  await until('every session has ended', () => count('session ended') === count('session started'))
  await until('no socket is open', () => openSockets() === 0)
}
