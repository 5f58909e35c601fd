/** Clients behind a load balancer that sends the PROXY protocol: by hand, and a real HAProxy. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { parseERR_Packet, parseHandshakeV10 } from '../../src/protocol/packets.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import { freePort } from '../support/free-port.ts'
import { realServer } from '../support/mariadb.ts'
import { ensureProgram } from '../support/packages.ts'
import { connect, expectOK, loginPacket, readPacket, startProxy, type TestProxy, until } from '../support/raw-client.ts'

const V1 = Buffer.from('PROXY TCP4 198.51.100.7 10.0.0.2 56324 3306\r\n')
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const V2_LOCAL = Buffer.concat([SIGNATURE, Buffer.from('20000000', 'hex')])

/** As a Network Load Balancer sends it: with the id of a VPC endpoint. */
const V2 = Buffer.concat([
  SIGNATURE,
  Buffer.from('21110026c63364080a000002dc040ceaea0017', 'hex'),
  Buffer.from('\x01vpce-08d2bf15fac5001c9'),
])

const start = async (t: Test, options: Partial<ProxyOptions> = {}) =>
  await startProxy(t, await realServer(t), { proxyProtocol: ['127.0.0.1'], ...options })

async function open(t: Test, { host, port }: TestProxy): Promise<Socket> {
  const socket = connectTcp({ host, port, noDelay: true, allowHalfOpen: true })
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** The addresses of the sessions so far, from the log. */
const clientsOf = ({ log }: TestProxy) =>
  log.filter(({ message }) => message === 'session started').map(({ fields }) => fields['client'])

const codesOf = ({ log }: TestProxy) => log.map(({ fields }) => fields['code']).filter(code => code !== undefined)

async function logIn(socket: Socket): Promise<void> {
  const greeting = parseHandshakeV10(await readPacket(socket))
  socket.write(loginPacket({ socket, greeting }))
  expectOK(await readPacket(socket))
}

test('the header’s address is the client’s, cut anywhere', async t => {
  const proxy = await start(t)
  for (const header of [V1, V2]) {
    for (let cut = 0; cut < header.length; cut += 5) {
      const socket = await open(t, proxy)
      if (cut > 0) {
        socket.write(header.subarray(0, cut))
        await new Promise(resolve => setImmediate(resolve))
      }
      socket.write(header.subarray(cut))
      await logIn(socket)
      socket.destroy()
    }
  }
  t.same([...new Set(clientsOf(proxy))], ['198.51.100.7', '198.51.100.8'])
})

test('a header with the login in the same segment', async t => {
  const proxy = await start(t)
  const socket = await open(t, proxy)
  // A client that does not wait for the greeting: with mysql_native_password and no password it needs no salt.
  const greeting = { authPlugin: 'mysql_native_password' } as ReturnType<typeof parseHandshakeV10>
  socket.write(Buffer.concat([V1, loginPacket({ socket, greeting })]))
  parseHandshakeV10(await readPacket(socket))
  expectOK(await readPacket(socket))
  t.same(clientsOf(proxy), ['198.51.100.7'])
})

test('LOCAL and UNKNOWN: the load balancer itself is the client', async t => {
  const proxy = await start(t)
  for (const header of [V2_LOCAL, Buffer.from('PROXY UNKNOWN\r\n')]) {
    const socket = await open(t, proxy)
    socket.write(header)
    await logIn(socket)
    socket.destroy()
  }
  t.same(clientsOf(proxy), ['127.0.0.1', '127.0.0.1'])
})

test('--allow-from is about the address in the header', async t => {
  const proxy = await start(t, { allowFrom: ['198.51.100.8'] })
  const allowed = await open(t, proxy)
  allowed.write(V2)
  await logIn(allowed)
  const refused = await open(t, proxy)
  refused.write(V1)
  t.match(parseERR_Packet(await readPacket(refused)), { errno: 1130, message: /clients from 198\.51\.100\.7 are not/ })
  const unix = await open(t, proxy)
  unix.write(Buffer.concat([SIGNATURE, Buffer.from('213100d8', 'hex'), Buffer.alloc(216)]))
  t.match(parseERR_Packet(await readPacket(unix)), { errno: 1130 }, 'a unix socket there is in no network')
})

test('the throttle is about the address in the header', async t => {
  const localUsers = [{ name: 'local', user: 'iam_user', password: 'right' }]
  const proxy = await start(t, { localUsers })
  const guess = async () => {
    const stream = await open(t, proxy)
    stream.write(V1)
    return mysql.createConnection({ stream, user: 'local', password: 'wrong' }).catch((error: Error) => error.message)
  }
  t.match(await guess(), /access denied for local user/)
  t.match(
    proxy.log.find(({ fields }) => fields['code'] === 'CLIENT_ACCESS_DENIED'),
    { fields: { client: '198.51.100.7' } },
  )
})

test('a header that is missing or invalid', async t => {
  const proxy = await start(t)
  const socket = await open(t, proxy)
  socket.write('GET / HTTP/1.1\r\n')
  const error = parseERR_Packet(await readPacket(socket))
  t.match(error, { errno: 1043, message: /no PROXY protocol header.*proxyProtocol/ })
  const version = await open(t, proxy)
  version.write(Buffer.concat([SIGNATURE, Buffer.from('31000000', 'hex')]))
  t.match(parseERR_Packet(await readPacket(version)), { errno: 1043, message: /version 3/ })
  await t.rejects(
    connect(proxy),
    { message: /no PROXY protocol header within 5 s/ },
    'a client that waits for a greeting',
  )
  const leaves = await open(t, proxy)
  leaves.end(V1.subarray(0, 10))
  await until('it is gone', () => codesOf(proxy).includes('CLIENT_CLOSED'))
  t.same(codesOf(proxy), ['PROXY_HEADER_INVALID', 'PROXY_HEADER_INVALID', 'PROXY_HEADER_INVALID', 'CLIENT_CLOSED'])
})

test('a header where none is accepted', async t => {
  for (const proxyProtocol of [[], ['192.0.2.0/24']]) {
    const proxy = await start(t, { proxyProtocol })
    for (const header of [V1, V2]) {
      const socket = await open(t, proxy)
      socket.write(header)
      const greeting = parseHandshakeV10(await readPacket(socket))
      socket.write(loginPacket({ socket, greeting }))
      const error = parseERR_Packet(await readPacket(socket))
      t.match(error, { errno: 1043, message: /127\.0\.0\.1 began with a PROXY protocol header\. Set proxyProtocol/ })
    }
    await (await connect(proxy)).end()
    t.same(clientsOf(proxy), ['127.0.0.1'], 'other clients log in as ever')
    t.same(codesOf(proxy), ['PROXY_HEADER_UNEXPECTED', 'PROXY_HEADER_UNEXPECTED'])
  }
})

/** A real HAProxy on a free port in front of the proxy. @returns its port */
async function startHaproxy(t: Test, server: string): Promise<number> {
  const program = await ensureProgram('haproxy', 'haproxy')
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const port = await freePort()
  const file = join(directory, 'haproxy.cfg')
  await writeFile(
    file,
    `defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
listen mysql
  bind 127.0.0.1:${port}
  server proxy ${server}
`,
  )
  const haproxy = spawn(program, ['-db', '-f', file], { stdio: 'ignore' })
  t.teardown(() => haproxy.kill())
  await until('HAProxy listens', async () => {
    const socket = connectTcp({ host: '127.0.0.1', port })
    const isListening = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    return isListening
  })
  return port
}

/** A login from 127.0.0.3 through HAProxy, which itself connects from 127.0.0.1. */
async function logInFrom(t: Test, port: number): Promise<void> {
  const stream = connectTcp({ host: '127.0.0.1', port, localAddress: '127.0.0.3' })
  t.teardown(() => stream.destroy())
  await once(stream, 'connect')
  const connection = await mysql.createConnection({ stream, user: 'iam_user' })
  t.same((await connection.query('SELECT 1 AS one'))[0], [{ one: 1 }])
  await connection.end()
}

for (const version of ['send-proxy', 'send-proxy-v2']) {
  test(`HAProxy with ${version}`, async t => {
    const proxy = await start(t, { proxyProtocol: ['127.0.0.1/32'], allowFrom: ['127.0.0.3'] })
    const port = await startHaproxy(t, `127.0.0.1:${proxy.port} ${version}`)
    await logInFrom(t, port)
    t.same(clientsOf(proxy), ['127.0.0.3'])
  })

  test(`HAProxy with ${version}, over a unix socket`, async t => {
    const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
    t.teardown(() => rm(directory, { recursive: true }))
    const path = join(directory, 'proxy.sock')
    const proxy = await start(t, { listen: `unix:${path}`, proxyProtocol: ['unix'], allowFrom: ['127.0.0.3'] })
    const port = await startHaproxy(t, `unix@${path} ${version}`)
    await logInFrom(t, port)
    t.same(clientsOf(proxy), ['127.0.0.3'])
  })

  test(`HAProxy with ${version}, and a proxy that does not expect it`, async t => {
    const proxy = await start(t, { proxyProtocol: [] })
    const port = await startHaproxy(t, `127.0.0.1:${proxy.port} ${version}`)
    await t.rejects(connect({ host: '127.0.0.1', port }), { errno: 1043, message: /PROXY protocol header/ })
  })
}
