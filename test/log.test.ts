/** The log of a real process whose standard output is a full disk, a pipe without a reader, or one that nobody reads. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createFormatter } from '../src/program-log.ts'
import { freePort } from './support/free-port.ts'
import { realServer } from './support/mariadb.ts'
import { PROGRAM } from './support/program.ts'
import { connect, until } from './support/raw-client.ts'

const [command, ...PROGRAM_ARGUMENTS] = PROGRAM

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** A proxy in front of the real server, with `stdout` as its standard output. */
async function startProxy(t: Test, stdout: number, more: string[] = []) {
  const server = await realServer(t)
  const directory = await scratch(t)
  const ca = join(directory, 'ca.pem')
  writeFileSync(ca, server.ca)
  const [port, adminPort] = [await freePort(), await freePort()]
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const args = [
    ...['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`],
    ...['--ca', ca, '--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${adminPort}`, ...more],
  ]
  const child = spawn(command, [...PROGRAM_ARGUMENTS, ...args], {
    stdio: ['ignore', stdout, 'inherit'],
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: process.env['NODE_OPTIONS'],
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  const address = { host: '127.0.0.1', port }
  const accepts = () =>
    new Promise<boolean>(resolve => {
      const socket = connectTcp(address)
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
  await until('it listens', accepts)
  return {
    child,
    exited,
    address,
    async droppedLines() {
      const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
      return Number(/^mysql_iam_proxy_log_lines_dropped_total (\d+)/m.exec(text)?.[1])
    },
  }
}

type Running = Awaited<ReturnType<typeof startProxy>>

/** A session that lives through `work`. */
async function sessionDuring(t: Test, { address }: Running, work: () => Promise<void>): Promise<void> {
  const session = await connect(address)
  await work()
  await session.query('DO 1')
  await session.end()
  t.pass('the session lived on')
}

/** Logins until the log has dropped lines: each logs a name of 50,000 characters. */
async function overflow(t: Test, proxy: Running): Promise<void> {
  const user = 'x'.repeat(50_000)
  for (let count = 0; (await proxy.droppedLines()) === 0; count++) {
    if (count > 1_000) throw new Error('no line was dropped')
    await t.rejects(connect(proxy.address, { user }))
  }
}

async function stop(t: Test, { child, exited }: Running): Promise<void> {
  child.kill('SIGTERM')
  t.same(await exited, [143, null])
}

test('a full disk', async t => {
  const directory = await scratch(t)
  let file = '/dev/full'
  if (process.getuid?.() === 0) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory])
    t.teardown(() => execFileSync('umount', ['--lazy', directory]))
    file = join(directory, 'log')
  }
  const stdout = openSync(file, 'a')
  t.teardown(() => closeSync(stdout))
  const proxy = await startProxy(t, stdout)
  await sessionDuring(t, proxy, () => overflow(t, proxy))
  if (file !== '/dev/full') {
    execFileSync('mount', ['-o', 'remount,size=16m', directory])
    await until('the loss is logged', async () => (await readFile(file, 'utf8')).includes('dropped while'))
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n')
    const dropped = lines.map(line => JSON.parse(line) as Record<string, unknown>).filter(({ lost }) => lost)
    t.match(dropped, [{ lost: await proxy.droppedLines(), cause: 'ENOSPC', level: 'warn' }])
  }
  await stop(t, proxy)
})

/** A FIFO with both ends open. Opening them needs no other process, as O_NONBLOCK and the order allow it. */
async function makePipe(t: Test): Promise<{ reader: number; writer: number }> {
  const path = join(await scratch(t), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  return { reader, writer: openSync(path, constants.O_WRONLY) }
}

test('a pipe without a reader', async t => {
  const { reader, writer } = await makePipe(t)
  const proxy = await startProxy(t, writer)
  closeSync(writer)
  await sessionDuring(t, proxy, async () => {
    closeSync(reader)
    await overflow(t, proxy)
  })
  await stop(t, proxy)
})

for (const format of ['json', 'pretty']) {
  test(`a pipe whose reader stands still, and reads again: ${format}`, async t => {
    const { reader, writer } = await makePipe(t)
    const proxy = await startProxy(t, writer, ['--log-format', format])
    closeSync(writer)
    await sessionDuring(t, proxy, () => overflow(t, proxy))
    const text = readAll(reader)
    await until('the loss is logged', () => text().includes('dropped while the log could not be written'))
    t.equal(await proxy.droppedLines(), Number(/"?lost"?: ?(\d+)/.exec(text())?.[1]))
    await stop(t, proxy)
    await until('the last line', () => text().includes('stopping'))
  })
}

test('the process ends though the reader stands still', async t => {
  const { reader, writer } = await makePipe(t)
  t.teardown(() => closeSync(reader))
  const proxy = await startProxy(t, writer)
  closeSync(writer)
  await overflow(t, proxy)
  await stop(t, proxy)
})

/** What comes out of a descriptor. */
function readAll(fd: number): () => string {
  const child = spawn('cat', [], { stdio: [fd, 'pipe', 'inherit'] })
  closeSync(fd)
  let text = ''
  child.stdout!.setEncoding('utf8').on('data', chunk => {
    text += chunk
  })
  return () => text
}

test('a socket whose reader stands still, as that of journald', async t => {
  // A child can only inherit a socket that this process has as a descriptor.
  const accepted: Socket[] = []
  const server = createServer({ pauseOnConnect: true }, socket => accepted.push(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const toReader = connectTcp(port, '127.0.0.1')
  await once(toReader, 'connect')
  const fd = (toReader as unknown as { _handle: { fd: number } })._handle.fd
  const proxy = await startProxy(t, fd)
  t.teardown(() => toReader.destroy())
  await sessionDuring(t, proxy, () => Promise.resolve())
  let text = ''
  await until('the reader has a connection', () => accepted.length === 1)
  accepted[0]!.setEncoding('utf8').on('data', chunk => {
    text += chunk
  })
  accepted[0]!.resume()
  await until('a session is logged', () => text.includes('session ended'))
  await stop(t, proxy)
  await until('the last line', () => text.includes('stopping'))
  accepted[0]!.destroy()
})

test('an uncaught error loses no line', async t => {
  const log = new URL('../src/program-log.ts', import.meta.url).href
  const code = `
    const { createLogger } = await import(${JSON.stringify(log)})
    const log = await createLogger('info', 'json')
    for (let count = 0; count < 1_000; count++) log.info({ count }, 'line')
    throw new Error('uncaught')`
  for (const kind of ['file', 'pipe']) {
    const file = join(await scratch(t), 'log')
    const stdout = kind === 'file' ? openSync(file, 'w') : 'pipe'
    const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', code], {
      stdio: ['ignore', stdout, 'ignore'],
    })
    let text = ''
    child.stdout?.on('data', chunk => {
      text += chunk
    })
    t.same(await once(child, 'close'), [1, null])
    if (kind === 'file') text = await readFile(file, 'utf8')
    const counts = text
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as { count: number }).count)
    t.same(
      counts,
      Array.from({ length: 1_000 }, (_, index) => index),
      kind,
    )
  }
})

test('the format for people: one line says who a session is about', async t => {
  const format = await createFormatter(false)
  const line = (fields: object) =>
    format(
      `${JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00.000Z', ...fields, msg: 'session started' })}\n`,
    )
      .split('\n')
      .slice(1, -1)
  const session = { endpoint: 'orders', session: 'k3f9-12', user: 'iam_user', client: '10.0.0.7', threadId: 42 }
  t.same(line({ ...session, localUser: 'reporting', durationMs: 12 }), [
    '    orders, session k3f9-12: reporting → iam_user from 10.0.0.7, thread 42',
    '    durationMs: 12',
  ])
  t.same(line({ ...session, localUser: 'iam_user' }), [
    '    orders, session k3f9-12: iam_user from 10.0.0.7, thread 42',
  ])
  t.same(line({ session: 'k3f9-13', client: 'unix' }), ['    session k3f9-13: unknown user from unix'])
  t.same(line({ endpoint: 'orders', client: 'unix' }), ['    endpoint: "orders"', '    client: "unix"'], 'no session')
})

test('the format for people: a name cannot forge a line or send codes to the terminal', async t => {
  const format = await createFormatter(false)
  const line = (fields: object, msg: string) =>
    format(`${JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00.000Z', ...fields, msg })}\n`)
  t.equal(line({}, 'hello'), '[00:00:00] INFO: hello\n'.replace('00:00:00', /\d\d:\d\d:\d\d/.exec(line({}, ''))![0]))
  const forged = 'x\r\n[00:00:00] INFO: forged\u001b[2J\u009b2J\u2028\u202e'
  for (const text of [
    line({}, forged),
    line({ user: forged }, 'y'),
    line({ session: 'x', user: forged, client: forged }, 'y'),
    line({ deep: { user: forged } }, 'y'),
  ]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
    t.notMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]/)
    t.notMatch(text, /^\[00:00:00\] INFO: forged/m)
    t.match(text, 'x\\r\\n[00:00:00] INFO: forged\\u001b[2J\\u009b2J\\u2028\\u202e')
  }
})
