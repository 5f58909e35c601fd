/** The sessions of changed-network.test.ts, in a network and mount namespace. Prints what its clients and the log saw. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type mysql from 'mysql2/promise'
import { ERR, parseERR_Packet } from '../../src/protocol/packets.ts'
import { wakeWatch } from '../../src/wake.ts'
import { startDistantAddress } from '../support/distant-address.ts'
import { startMariadb } from '../support/mariadb.ts'
import {
  COM_QUERY,
  connect,
  logInRaw,
  type RawClient,
  readPacket,
  runCommand,
  sendCommand,
  startProxy,
  until,
  value,
} from '../support/raw-client.ts'

const LARGE = "SELECT REPEAT('x', 1000000) FROM information_schema.columns LIMIT 40"

const ip = (...words: string[]) => execFileSync('ip', words)
ip('link', 'set', 'lo', 'up')
const undo: (() => Promise<void>)[] = []
const t = { teardown: (stop: () => Promise<void>) => undo.push(stop) }
const server = await startMariadb({ extraConfig: 'bind-address=0.0.0.0' })
const far = await startDistantAddress(1, server.port)
const proxy = await startProxy(t, server, { connect: `${far.host}:${far.port}` })
const heard: string[] = []
wakeWatch.subscribe(({ kind }) => heard.push(kind))

const sessions = () => proxy.state.sessions.size
/** What the proxy tells a client that asks nothing. */
async function told({ socket }: RawClient): Promise<unknown> {
  const packet = await readPacket(socket)
  if (packet[0] !== ERR) return packet[0]
  const { errno, message } = parseERR_Packet(packet)
  return { errno, message }
}
/** @throws at the end of the connection, or the message of an ERR_Packet */
async function readToEnd({ socket }: RawClient): Promise<never> {
  for (;;) {
    const packet = await readPacket(socket)
    if (packet[0] === ERR) throw new Error('an ERR_Packet in the middle of an answer')
  }
}
async function logInAndOut(): Promise<unknown> {
  const connection = await connect(proxy)
  const seven = await value(connection, 'SELECT 7')
  await connection.end()
  return seven
}
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    ({ errno, message }: { errno?: number; message: string }) => ({ errno, message }),
  )

// The address of the connections is removed.
let removeAddress = far.moveSource()
await until('the address is noticed', () => heard.length > 0)
const idle = await logInRaw(proxy)
const inTransaction = await logInRaw(proxy)
await runCommand(inTransaction, COM_QUERY, 'BEGIN')
const halfRead = await logInRaw(proxy)
sendCommand(halfRead, COM_QUERY, LARGE)
await readPacket(halfRead.socket)
const busy: mysql.Connection = await connect(proxy)
const busyFailure = failureOf(value(busy, 'SELECT SLEEP(600)'))
removeAddress()
const removedAt = performance.now()
const loginAtOnce = await logInAndOut()
const removed = {
  loginAtOnce,
  busy: await busyFailure,
  idle: await told(idle),
  inTransaction: await told(inTransaction),
  seconds: Math.round((performance.now() - removedAt) / 1_000),
  halfRead: await failureOf(readToEnd(halfRead)),
}
await until('all have ended', () => sessions() === 0)

// The address comes back within seconds.
heard.length = 0
removeAddress = far.moveSource()
await until('the address is noticed', () => heard.length > 0)
const survivor = await connect(proxy)
heard.length = 0
removeAddress()
await until('the loss is noticed', () => heard.length > 0)
removeAddress = far.moveSource()
await until('the return is noticed', () => heard.length > 1)
const flapped = { heard: [...heard], answer: await value(survivor, 'SELECT 8') }
await survivor.end()

// A new network takes the packets away, as that of a VPN does. The address stays.
const victim = await logInRaw(proxy)
far.cut()
const cutAt = performance.now()
ip('address', 'add', '10.99.0.1/32', 'dev', 'lo')
const lostBehindVpn = { told: await told(victim), seconds: Math.round((performance.now() - cutAt) / 1_000) }
far.heal()
const loginAfterVpn = await logInAndOut()

// The machine sleeps, and the network forgets the connections: what it reads as its uptime goes on.
const sleeper = await logInRaw(proxy)
await until('the network is quiet', () => sessions() === 1)
heard.length = 0
far.cut()
const uptimeFile = join(await mkdtemp(join(tmpdir(), 'uptime-')), 'uptime')
const [seconds = 0, idleSeconds] = readFileSync('/proc/uptime', 'utf8').split(' ').map(Number)
writeFileSync(uptimeFile, `${seconds + 8 * 3_600} ${idleSeconds}\n`)
execFileSync('mount', ['--bind', uptimeFile, '/proc/uptime'])
const toldAfterSleep = await told(sleeper)
far.heal()
const slept = { heard: [...new Set(heard)], told: toldAfterSleep, login: await logInAndOut() }

const result = {
  removed,
  flapped,
  lostBehindVpn,
  loginAfterVpn,
  slept,
  log: proxy.log.filter(({ level }) => level !== 'info').map(({ level, fields }) => ({ level, code: fields['code'] })),
}
process.stdout.write(JSON.stringify(result))
busy.destroy()
for (const { socket } of [idle, inTransaction, halfRead, victim, sleeper]) socket.destroy()
for (const stop of undo.reverse()) await stop()
far.stop()
await server.stop()
process.exit()
