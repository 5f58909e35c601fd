/** A proxy under test, its clients, and the checks of failed logins. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import mysql from 'mysql2/promise'
import type { Test } from 'tap'
import type { SignInHelper } from '../../src/aws/credentials.ts'
import type { LogLevel } from '../../src/error-codes.ts'
import { ERRORS, type ErrorCode, type HostPort } from '../../src/index.ts'
import { loggerOf } from '../../src/log.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import {
  ERR,
  type ERR_Packet,
  encodeHandshakeResponse41,
  type HandshakeResponse41,
  type HandshakeV10,
  OK,
  parseERR_Packet,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { createProxy, type ProxyOptions } from '../../src/proxy/proxy.ts'
import {
  type Connection,
  goodLogin,
  packet,
  RDS_HOST,
  type Script,
  type ScriptedUpstream,
  startScriptedUpstream,
  takeBytes,
  testCertificates,
  wait,
} from './scripted-upstream.ts'

export interface LogLine {
  level: LogLevel
  fields: Record<string, unknown>
  message: string
}

export interface TestProxy {
  address: HostPort
  log: LogLine[]
  proxy: ReturnType<typeof createProxy>
}

const credentials = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'secret-access-key-of-the-tests',
  sessionToken: `session-token-of-the-tests${'A'.repeat(600)}`,
}

/** Must not appear in any message, log line, or byte outside verified TLS. */
const SECRETS = /X-Amz-|secret-access-key|session-token/

/** A proxy on a free port that trusts only the authority of the tests. */
export async function startProxy(
  t: Test,
  overrides: Partial<ProxyOptions> = {},
  signIn?: SignInHelper,
): Promise<TestProxy> {
  const log: LogLine[] = []
  const at = (level: LogLevel) => (fields: object, message: string) => {
    log.push({ level, fields: fields as LogLine['fields'], message })
  }
  const proxy = createProxy(
    {
      rdsEndpoint: RDS_HOST,
      listen: '127.0.0.1:0',
      credentials,
      ca: [(await testCertificates()).authority.certificate],
      caOnly: true,
      // A busy machine must not fail a login.
      connectTimeout: 60_000,
      loginTimeout: 120_000,
      logger: loggerOf(at),
      ...overrides,
    },
    undefined,
    { signIn },
  )
  const address = await proxy.listen()
  // The first login would load this within its time limit.
  await import('@aws-sdk/rds-signer')
  t.teardown(() => proxy.close())
  return { address, log, proxy }
}

export interface RawPacket {
  sequence: number
  payload: Buffer
}

/** A client that sends arbitrary packets. */
export interface RawClient {
  socket: Socket
  /** undefined if the connection ends first */
  next(): Promise<RawPacket | undefined>
  greeting(): Promise<HandshakeV10>
  send(payload: Buffer, sequence: number): void
  /** the last packet of the proxy, and how the connection ended */
  outcome(): Promise<Outcome>
}

/** The result of a client's login. */
export interface Outcome {
  ok: boolean
  /** as the client read it; undefined without an error */
  error: (ERR_Packet & { sequence: number }) | undefined
  /** the thread id of the greeting */
  threadId: number | undefined
  /** whether the proxy ended the connection without a reset and without further bytes */
  ended: boolean
}

export async function connectRaw(t: Test, { host, port }: HostPort): Promise<RawClient> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
  let broken = false
  socket.on('error', () => {
    broken = true
  })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const next = async () => {
    const header = await takeBytes(socket, 4)
    if (header.length < 4) return undefined
    const payload = await takeBytes(socket, header.readUIntLE(0, 3))
    return { sequence: header[3]!, payload }
  }
  return {
    socket,
    next,
    async greeting() {
      const first = await next()
      if (!first) throw new Error('no greeting')
      return parseHandshakeV10(first.payload)
    },
    send(payload, sequence) {
      socket.write(packet(payload, sequence))
    },
    async outcome() {
      const last = await next()
      const ok = last?.payload[0] === OK
      const error = last?.payload[0] === ERR ? { ...parseERR_Packet(last.payload), sequence: last.sequence } : undefined
      const isLast = !ok && (await next()) === undefined && socket.readableEnded
      socket.end()
      // The proxy must be able to send the rest, or the connection ends with a reset.
      if (isLast && !socket.closed) await once(socket, 'close').catch(() => undefined)
      return { ok, error, threadId: undefined, ended: isLast && !broken }
    },
  }
}

const CLIENT_CAPABILITIES =
  flags.CLIENT_LONG_PASSWORD |
  flags.CLIENT_PROTOCOL_41 |
  flags.CLIENT_SECURE_CONNECTION |
  flags.CLIENT_PLUGIN_AUTH |
  flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA

/** The response of a plain client without a password. */
export function handshakeResponse(changes: Partial<HandshakeResponse41> = {}): Buffer {
  return encodeHandshakeResponse41({
    capabilities: CLIENT_CAPABILITIES,
    maxPacketSize: 1 << 24,
    charset: 45,
    reserved: Buffer.alloc(23),
    user: Buffer.from('iam_user'),
    authResponse: Buffer.alloc(0),
    database: undefined,
    authPlugin: 'caching_sha2_password',
    attributes: undefined,
    zstdLevel: undefined,
    ...changes,
  })
}

export interface LoginOptions {
  /** milliseconds between greeting and answer */
  thinks?: number
  /** sent directly after the response */
  pipelined?: Buffer
}

/** Logs in and disconnects. */
export async function logIn(t: Test, address: HostPort, options: LoginOptions = {}): Promise<Outcome> {
  const client = await connectRaw(t, address)
  const first = await client.next()
  if (!first) return { ok: false, error: undefined, threadId: undefined, ended: true }
  if (first.payload[0] === ERR) {
    const error = { ...parseERR_Packet(first.payload), sequence: first.sequence }
    const ended = (await client.next()) === undefined && client.socket.readableEnded
    client.socket.end()
    return { ok: false, error, threadId: undefined, ended }
  }
  const { threadId } = parseHandshakeV10(first.payload)
  if (options.thinks) await wait(options.thinks)
  client.send(handshakeResponse(), 1)
  if (options.pipelined) client.socket.write(options.pipelined)
  return { ...(await client.outcome()), threadId }
}

/** Logs in with mysql2, as an application would. */
export function connectMysql(address: HostPort, options: mysql.ConnectionOptions = {}): Promise<mysql.Connection> {
  return mysql.createConnection({ ...address, user: 'iam_user', connectTimeout: 120_000, ...options })
}

/** Waits until `condition` is true; false after a time limit, which is long because only a test that hangs reaches it. */
export async function until(condition: () => boolean, milliseconds = 120_000): Promise<boolean> {
  const deadline = performance.now() + milliseconds
  while (!condition()) {
    if (performance.now() > deadline) return false
    await wait(5)
  }
  return true
}

/** The expected failure of a login. */
export interface Failure {
  code: ErrorCode
  errno: number
  /** undefined where the ERR_Packet comes instead of a greeting */
  sqlState: string | undefined
  /** what happened, and what to do about it */
  says: RegExp[]
}

/** The client gets an error that it can read and act on. */
export function checkOutcome(t: Test, { ok, error, ended }: Outcome, expected: Failure): void {
  t.notOk(ok, 'the login fails')
  t.match(error, { errno: expected.errno }, 'the client reads the error code')
  t.equal(error?.sqlState, expected.sqlState, 'and the SQL state')
  if (expected.sqlState === undefined) t.equal(error?.sequence, 0, 'instead of the greeting')
  const message = error?.message ?? ''
  for (const pattern of expected.says) t.match(message, pattern)
  t.ok(Buffer.byteLength(message) < 512, `no longer than clients show: ${Buffer.byteLength(message)}`)
  t.notMatch(message, /[{}]|undefined|\[object/, 'every name is filled in')
  t.notMatch(message, SECRETS, 'no secret in the message')
  t.ok(ended, 'the connection ends cleanly')
}

/** The log lines about problems: without debug lines and those of sessions that go well. */
export function problems(log: LogLine[]): LogLine[] {
  return log.filter(
    ({ level, message }) => level !== 'debug' && !/^session (started|ended|changed its user)$/.test(message),
  )
}

/** The log has one line about the problem. */
export function checkLog(t: Test, log: LogLine[], code: ErrorCode): void {
  const lines = problems(log)
  t.equal(lines.length, 1, 'one line in the log', { lines })
  t.match(lines[0], { level: ERRORS[code].level, fields: { code } })
  checkNoSecrets(t, log)
}

export function checkNoSecrets(t: Test, log: LogLine[]): void {
  t.notMatch(JSON.stringify(log), SECRETS, 'no secret in the log')
}

/** Whether this connection received a token, in plaintext or inside TLS. */
export function hasToken({ clear, decrypted }: Connection): boolean {
  return SECRETS.test(clear.toString('latin1')) || SECRETS.test(decrypted.toString('latin1'))
}

/** All upstream connections end. A silent server has two seconds to refuse the last login. */
export async function checkEnded(t: Test, { connections }: ScriptedUpstream): Promise<void> {
  t.ok(await until(() => connections.every(({ ended }) => ended)), 'the upstream connection ends')
}

/** A real client logs in and pings. */
export async function checkGoodLogin(t: Test, address: HostPort): Promise<void> {
  const connection = await connectMysql(address)
  await connection.ping()
  await connection.end()
  t.pass('the next login succeeds')
}

/** An upstream that fails a login, and the expected result. */
export interface Fault extends Failure {
  name: string
  script: Script
  /** whether a token was sent, inside verified TLS */
  token: boolean
  options?: Partial<ProxyOptions>
  client?: LoginOptions
}

/** Runs the login that `fault` breaks, then a good one, through the same proxy. */
export async function runFault(t: Test, fault: Fault): Promise<void> {
  const upstream = await startScriptedUpstream(t, [fault.script, goodLogin])
  const { address, log } = await startProxy(t, {
    connect: upstream.address,
    tokenInHandshake: 'always',
    ...fault.options,
  })
  checkOutcome(t, await logIn(t, address, fault.client), fault)
  await checkEnded(t, upstream)
  checkLog(t, log, fault.code)
  t.equal(upstream.connections.length, 1, 'one connection to the upstream')
  t.equal(hasToken(upstream.connections[0]!), fault.token, fault.token ? 'the token was sent' : 'no token was sent')
  if (fault.options?.ca === undefined && fault.options?.rdsEndpoint === undefined) await checkGoodLogin(t, address)
}
