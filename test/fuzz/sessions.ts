/**
 * Whole sessions of a proxy whose client, or whose server, plays scenarios. What must hold: the process lives, every
 * session ends in time, no token leaves but to the verified server, nothing stays open, a good session beside them is
 * served, the log has at most one line for each, and a client gets a well-formed ERR_Packet or none.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import type { Test } from 'tap'
import { type Certificate, createAuthority } from '../../src/demo/certificates.ts'
import type { HostPort } from '../../src/index.ts'
import { COM_CHANGE_USER, COM_QUIT } from '../../src/protocol/command-scanner.ts'
import { ERR, encodeComChangeUser, OK, parseERR_Packet } from '../../src/protocol/packets.ts'
import { connectMysql, handshakeResponse, hasToken, startProxy, until } from '../support/proxy.ts'
import {
  authSwitch,
  type Connection,
  OK as OK_PACKET,
  type Peer,
  packet,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
  wait,
} from '../support/scripted-upstream.ts'
import { play } from './scenario.ts'

export type Side = 'client' | 'server'

/** Options of the proxies. With a second to linger and two to leave, they end everything in less than `LIMITS.patience`. */
const TIMEOUTS = { connectTimeout: 1_000, greetingTimeout: 800, loginTimeout: 800 }

/** Milliseconds that this program waits. */
const LIMITS = { end: 60_000, read: 250, patience: 3_000 }

/** Sessions at a time. */
const AT_A_TIME = 100

/** Plays each scenario in a separate session, all through one proxy; resolves with what did not hold. */
export async function playSessions(
  side: Side,
  scenarios: Buffer[],
  onPlayed: (scenario: Buffer) => void = () => {},
): Promise<string[]> {
  const failures: string[] = []
  const undo: (() => unknown)[] = []
  const t = {
    teardown: (stop: () => unknown) => void undo.push(stop),
    fail: (message: string, { error }: { error?: Error } = {}) => void failures.push(`${message}: ${error?.stack}`),
  } as unknown as Test
  const onStray = (error: unknown) => failures.push(`unhandled: ${error instanceof Error ? error.stack : error}`)
  process.on('uncaughtException', onStray).on('unhandledRejection', onStray)
  try {
    await playOver(t, side, scenarios, onPlayed, failures)
  } catch (error) {
    failures.push(`${(error as Error).stack}`)
  } finally {
    for (const stop of undo.reverse()) await stop()
    process.off('uncaughtException', onStray).off('unhandledRejection', onStray)
  }
  return failures
}

async function playOver(
  t: Test,
  side: Side,
  scenarios: Buffer[],
  onPlayed: (scenario: Buffer) => void,
  failures: string[],
): Promise<void> {
  const distrusted = new Set<Connection>()
  const distrust = (n: number) => distrusted.add(upstream.connections[n]!)
  const scripts = side === 'server' ? await scenarioScripts(scenarios, distrust) : []
  const upstream = await startScriptedUpstream(t, [serverFor(undefined), ...scripts, serverFor(LIMITS.patience)])
  const proxies = await startProxies(t, side, scenarios.length, upstream.address)
  // Not through one of them: the good session must not fail where this process is just slow.
  const good = await startProxy(t, {
    connect: upstream.address,
    greetingTimeout: 120_000, // the scripted server is in this process, which may get little of the processor
    ...(side === 'server' ? { tokenInHandshake: 'always' } : {}),
  })
  const { address } = good

  const beside = await connectMysql(address)
  let over = false
  const pings = (async () => {
    for (let count = 0; ; count++) {
      if (!(await isInTime(beside.ping()))) throw new Error('the good session waits for its answer')
      if (over) return count
      await wait(5)
    }
  })().catch(error => failures.push(`the session beside: ${error.message}`))

  let next = 0
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => {
      while (next < scenarios.length) {
        const index = next++
        const proxy = proxies[Math.floor(index / ALIKE)]!.address
        const received = await (side === 'client' ? fuzzedClient(proxy, scenarios[index]!) : goodClient(proxy))
        onPlayed(scenarios[index]!)
        const wrong = received === undefined ? 'the session does not end' : problemIn(received)
        // Which server a client met is not known: they connect at the same time.
        if (wrong) failures.push(side === 'client' ? `${wrong}; scenario ${index}` : wrong)
      }
    }),
  )
  const [first, ...others] = upstream.connections
  await until(() => others.every(({ ended }) => ended), LIMITS.end)
  for (const [index, { ended }] of others.entries()) {
    // Servers take their scenarios in the order of the connections.
    if (!ended) failures.push(`an upstream connection is left${side === 'server' ? `; scenario ${index}` : ''}`)
  }
  over = true
  await pings
  await (await connectMysql(address)).end()
  await beside.end()

  for (const connection of [first!, ...others]) {
    if (hasToken({ ...connection, decrypted: NOTHING })) failures.push('a token in clear')
    if (connection.decrypted.includes(FOR_NOBODY)) failures.push('a token for a client without the password')
    if (distrusted.has(connection) && hasToken(connection)) failures.push('a token to a server that is not verified')
  }
  const log = [good, ...proxies].flatMap(({ log }) => log)
  const refusals = log.filter(({ fields }) => fields['code'] !== undefined)
  if (refusals.length > scenarios.length) failures.push(`${refusals.length} refusals of ${scenarios.length} sessions`)
  for (const { fields } of refusals) if (fields['code'] === 'INTERNAL') failures.push(`INTERNAL: ${fields['stack']}`)
  if (isSecret(Buffer.from(JSON.stringify(log)))) failures.push('a secret in the log')
}

/** The database user of those who know the local password. */
const FOR_NOBODY = 'user_for_nobody'

/** Sessions of a proxy: at five failures of the same kind, it would let no more through to the server for a while. */
const ALIKE = 4

/** Proxies before one server. Clients meet three kinds: one that takes everybody, one with TLS, one with local users. */
async function startProxies(t: Test, side: Side, sessions: number, connect: string) {
  const tls = side === 'client' ? await localTls(t) : undefined
  // A password that no scenario knows, so that nobody gets as far as a token.
  const localUsers = [{ name: 'iam_user', password: randomBytes(16).toString('hex'), user: FOR_NOBODY }]
  const kinds = side === 'client' ? [{}, { tls }, { localUsers, tls }] : [{}]
  return await Promise.all(
    Array.from({ length: Math.ceil(sessions / ALIKE) }, (_, n) =>
      startProxy(t, {
        connect,
        ...TIMEOUTS,
        // A login that is tried again would take another's place at a server that follows a list of scenarios.
        ...(side === 'server' ? { tokenInHandshake: n % 3 === 2 ? 'never' : 'always' } : {}),
        ...kinds[n % kinds.length],
      }),
    ),
  )
}

async function localTls(t: Test): Promise<{ certFile: string; keyFile: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-fuzz-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const { authority } = await testCertificates()
  const { certificate, key } = await authority.issue({ names: ['localhost'] })
  const files = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') }
  await writeFile(files.certFile, certificate)
  await writeFile(files.keyFile, key)
  return files
}

const NOTHING = Buffer.alloc(0)

function isSecret(bytes: Buffer): boolean {
  return hasToken({ clear: bytes, decrypted: NOTHING, ended: true })
}

// ---- clients: each resolves with all that it received, undefined where the session did not end in time ----

async function fuzzedClient(address: HostPort, scenario: Buffer): Promise<Buffer | undefined> {
  const client = await open(address)
  const say = (bytes: Buffer) => client.socket.writable && client.socket.write(bytes)
  let seen = 0
  await play(scenario, {
    packet: (payload, sequence) => say(packet(payload, sequence)),
    raw: say,
    end: () => client.socket.end(),
    reset: () => client.reset(),
    async read() {
      const from = seen
      const isHere = () => lengthOfPacket(client.received(), from) !== undefined
      await until(() => isHere() || client.socket.closed, LIMITS.read)
      const length = lengthOfPacket(client.received(), from)
      if (length === undefined) return undefined
      seen += length
      return client.received()[from + 3]
    },
    startTls: () => client.startTls(),
  })
  // A client that has logged in may stay for any time.
  await until(() => isLoggedIn(client.received()) || client.socket.closed, LIMITS.end)
  client.socket.end()
  return await client.closed()
}

/** Logs in, changes its user, and leaves. */
async function goodClient(address: HostPort): Promise<Buffer | undefined> {
  const client = await open(address)
  const { socket } = client
  const say = (payload: Buffer, sequence: number) => socket.writable && socket.write(packet(payload, sequence))
  const isAsked = () => loginPackets(client.received())[1]?.[0] === AUTH_SWITCH_REQUEST
  const hasResult = () => isLoggedIn(client.received()) || socket.readableEnded || socket.closed
  const hasMoreThan = (length: number) => until(() => client.received().length > length || socket.closed, LIMITS.read)
  await until(() => lengthOfPacket(client.received(), 0) !== undefined || socket.closed, LIMITS.end)
  say(handshakeResponse(), 1)
  await until(() => isAsked() || hasResult(), LIMITS.patience)
  if (isAsked()) {
    say(Buffer.alloc(20, 7), 3)
    await until(hasResult, LIMITS.patience)
  }
  if (isLoggedIn(client.received())) {
    say(Buffer.from('\x03SELECT 1'), 0)
    const length = client.received().length
    await hasMoreThan(length)
    say(changeUser, 0)
    await hasMoreThan(length + 20)
  }
  socket.end()
  return await client.closed()
}

const changeUser = encodeComChangeUser({
  user: Buffer.from('iam_user'),
  authResponse: Buffer.alloc(0),
  database: Buffer.alloc(0),
  charset: 45,
  authPlugin: 'caching_sha2_password',
  attributes: undefined,
})

interface OpenClient {
  socket: Socket
  received(): Buffer
  /** resolves when TLS is up, or cannot be */
  startTls(): Promise<void>
  reset(): void
  /** resolves with all that was received; undefined where the connection does not end */
  closed(): Promise<Buffer | undefined>
}

/** What a client keeps of what it receives: a relayed flood is of no interest. */
const ENOUGH = 256 * 1024

async function open({ host, port }: HostPort): Promise<OpenClient> {
  const tcp = connect({ host, port, noDelay: true, allowHalfOpen: true })
  let received: Buffer = NOTHING
  const closed = new Promise<void>(resolve => void tcp.once('close', () => resolve()))
  const onData = (chunk: Buffer) => {
    if (received.length < ENOUGH) received = Buffer.concat([received, chunk])
  }
  const onError = () => {}
  const onEnd = () => client.socket.end()
  const client: OpenClient = {
    socket: tcp,
    received: () => received,
    async startTls() {
      if (client.socket !== tcp || !tcp.writable) return
      tcp.off('data', onData).off('end', onEnd)
      const tls = connectTls({ socket: tcp, rejectUnauthorized: false })
        .on('data', onData)
        .on('end', onEnd)
        .on('error', onError)
      client.socket = tls
      let isDone = false
      for (const event of ['secure', 'end', 'close']) tls.once(event, () => (isDone = true))
      await until(() => isDone, LIMITS.read)
    },
    reset() {
      // libuv has no reset for a socket that is being ended, nor one for TLS.
      if (client.socket !== tcp || tcp.writableEnded) client.socket.destroy()
      else tcp.resetAndDestroy()
    },
    async closed() {
      const inTime = await isInTime(closed)
      tcp.destroy()
      return inTime ? received : undefined
    },
  }
  tcp.on('data', onData).on('error', onError).on('end', onEnd)
  await Promise.race([once(tcp, 'connect'), closed]).catch(() => undefined)
  return client
}

/** Leaves no timer behind. */
async function isInTime(promise: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>(resolve => {
    timer = setTimeout(() => resolve(false), LIMITS.end)
  })
  const inTime = await Promise.race([promise.then(() => true), late])
  clearTimeout(timer)
  return inTime
}

// ---- what a client received ----

/** Header included; undefined where it is not whole. */
function lengthOfPacket(stream: Buffer, at: number): number | undefined {
  const length = stream.length >= at + 4 ? 4 + stream.readUIntLE(at, 3) : undefined
  return length !== undefined && stream.length >= at + length ? length : undefined
}

/** The packets behind the greeting, to the one that ends the login. */
function loginPackets(received: Buffer): Buffer[] {
  const payloads: Buffer[] = []
  let at = 0
  for (;;) {
    const length = lengthOfPacket(received, at)
    if (length === undefined) return payloads
    const payload = received.subarray(at + 4, at + length)
    payloads.push(payload)
    at += length
    const isResult = payload[0] === ERR || (payload[0] === OK && payloads.length > 1)
    if (isResult) return payloads
  }
}

function isLoggedIn(received: Buffer): boolean {
  const packets = loginPackets(received)
  return packets.length > 1 && packets.at(-1)![0] === OK
}

const AUTH_MORE_DATA = 0x01
const AUTH_SWITCH_REQUEST = 0xfe
const PROTOCOL_VERSION = 10

/** What is wrong with it, if anything is. */
function problemIn(received: Buffer): string | undefined {
  if (isSecret(received)) return 'a token to the client'
  const packets = loginPackets(received)
  const total = packets.reduce((sum, { length }) => sum + 4 + length, 0)
  const last = packets.at(-1)
  if (last?.[0] === ERR) {
    const { errno, sqlState, message } = parseERR_Packet(last)
    if (Buffer.byteLength(message) >= 512) return `a message that clients would cut: ${errno} ${message}`
    if (packets.length > 1 && sqlState === undefined) return `an ERR_Packet without an SQL state: ${errno} ${message}`
    if (received.length > total) return 'bytes behind an ERR_Packet'
  } else if (!isLoggedIn(received) && received.length > total) return 'part of a packet'
  const known = packets.every((payload, index) =>
    index === 0
      ? payload[0] === PROTOCOL_VERSION || payload[0] === ERR
      : [OK, ERR, AUTH_MORE_DATA, AUTH_SWITCH_REQUEST].includes(payload[0]!),
  )
  return known ? undefined : 'an unknown packet in the login'
}

// ---- servers ----

/** Lets everybody in, asks for the token at a COM_CHANGE_USER, takes whatever is sent; leaves who says nothing for so long. */
const serverFor =
  (patience: number | undefined): Script =>
  async peer => {
    const response = await untilResponse(peer)
    if (response.authPlugin !== 'mysql_clear_password') {
      peer.send(authSwitch('mysql_clear_password'))
      await peer.expect()
    }
    peer.send(OK_PACKET)
    for (;;) {
      const next = readAny(peer)
      const read = await (patience === undefined ? next : Promise.race([next, peer.wait(patience)]))
      if (!read || read.payload[0] === COM_QUIT) return peer.close()
      const { payload, sequence } = read
      const asks = payload[0] === COM_CHANGE_USER
      peer.send(asks ? authSwitch('mysql_clear_password') : OK_PACKET, (sequence + 1) & 0xff)
    }
  }

async function readAny(peer: Peer): Promise<{ payload: Buffer; sequence: number }> {
  const header = await peer.expectRaw(4)
  return { payload: await peer.expectRaw(header.readUIntLE(0, 3)), sequence: header[3]! }
}

/** Servers that play `scenarios`, one each; `distrust` learns the number of the connection that has a wrong certificate. */
async function scenarioScripts(scenarios: Buffer[], distrust: (connection: number) => void): Promise<Script[]> {
  const certificates = await serverCertificates()
  return scenarios.map((scenario, index) => async peer => {
    let isTls = false
    await play(scenario, {
      packet: (payload, sequence) => peer.send(payload, sequence),
      raw: bytes => peer.sendRaw(bytes),
      end: () => peer.close(),
      reset: () => peer.reset(),
      async read() {
        const packet = await Promise.race([readAny(peer), peer.wait(LIMITS.patience)])
        // What a server owes to a session that has logged in has no limit but the server's end.
        if (!packet) peer.close()
        return packet?.sequence
      },
      async startTls(which) {
        if (isTls) return
        isTls = true
        if (which !== 'good') distrust(index + 1)
        await Promise.race([peer.startTls(certificates[which]), peer.wait(LIMITS.patience)])
      },
    })
    await Promise.race([peer.expectRaw(MUCH), peer.wait(LIMITS.patience)])
    peer.close()
  })
}

/** More than a good client sends. */
const MUCH = 1 << 20

let certificates: Promise<Record<'good' | 'other name' | 'other authority', Certificate>> | undefined

function serverCertificates() {
  certificates ??= (async () => {
    const { authority, certificate } = await testCertificates()
    const stranger = await createAuthority('trusted by nobody')
    return {
      good: certificate,
      'other name': await authority.issue({ names: ['database-2.abcdefghijkl.eu-west-1.rds.amazonaws.com'] }),
      'other authority': await stranger.issue({ names: ['database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'] }),
    }
  })()
  return certificates
}
