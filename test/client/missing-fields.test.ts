/**
 * Fields that a client leaves out at the end of HandshakeResponse41 or COM_CHANGE_USER, though its flags announce them. The
 * proxy accepts what the server accepts.
 */
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import type { Test } from 'tap'
import { test } from 'tap'
import * as flags from '../../src/protocol/capabilities.ts'
import {
  AUTH_MORE_DATA,
  AUTH_SWITCH_REQUEST,
  ERR,
  parseAuthSwitchRequest,
  parseERR_Packet,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import type { RealServer } from '../support/database-server.ts'
import { nativeResponse, sha2Response } from '../support/passwords.ts'
import { connectRaw as connectScripted, startProxy as startScriptedProxy } from '../support/proxy.ts'
import { connect, readPacket, sendPacket, startProxy, type TestProxy } from '../support/raw-client.ts'
import { OK, serveCommands, startScriptedUpstream, untilResponse } from '../support/scripted-upstream.ts'
import { isMariadb, testOnEachServer } from '../support/servers.ts'

const ACCOUNT = { user: 'app', password: 'app-pw' }
const localUsers = [{ name: ACCOUNT.user, password: ACCOUNT.password, user: 'iam_user' }]

const BASE =
  flags.CLIENT_LONG_PASSWORD |
  flags.CLIENT_PROTOCOL_41 |
  flags.CLIENT_SECURE_CONNECTION |
  flags.CLIENT_TRANSACTIONS |
  flags.CLIENT_MULTI_RESULTS
const DB = flags.CLIENT_CONNECT_WITH_DB
const PLUGIN = flags.CLIENT_PLUGIN_AUTH
const ATTRIBUTES = flags.CLIENT_CONNECT_ATTRS
const ZSTD = flags.CLIENT_ZSTD_COMPRESSION_ALGORITHM

interface Address {
  host: string
  port: number
}

interface Session {
  socket: Socket
  /** the response by the greeting's method, and its name */
  response: Buffer
  plugin: string
  /** what the server has answered: 'switch …', 'more 03', 'OK', or 'error' and its number */
  steps: string[]
}

function respond(plugin: string, salt: Buffer): Buffer {
  return plugin === 'caching_sha2_password'
    ? sha2Response(ACCOUNT.password, salt)
    : nativeResponse(ACCOUNT.password, salt)
}

/** A HandshakeResponse41 of these flags that ends with `tail`, by hand. */
function handshakeResponse(capabilities: number, response: Buffer, tail: string): Buffer {
  const head = Buffer.alloc(32)
  head.writeUInt32LE(capabilities >>> 0)
  head.writeUInt32LE(1 << 24, 4)
  head[8] = 45
  const user = Buffer.from(`${ACCOUNT.user}\0`)
  return Buffer.concat([head, user, Buffer.of(response.length), response, Buffer.from(tail, 'latin1')])
}

async function logIn(
  t: Test,
  address: Address,
  capabilities: number,
  tail: (plugin: string) => string,
  method?: string,
) {
  const socket = connectTcp(address)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const { salt, authPlugin: plugin } = parseHandshakeV10(await readPacket(socket))
  const response = respond(method ?? plugin, salt)
  sendPacket(socket, handshakeResponse(capabilities, response, tail(plugin)), 1)
  return { socket, response, plugin, steps: await readAnswer(socket, 1) } satisfies Session
}

/** Reads up to the result, and answers AuthSwitchRequests. @param sequence id of the client's packet */
async function readAnswer(socket: Socket, sequence: number): Promise<string[]> {
  const steps: string[] = []
  for (let next = sequence + 1; ; next++) {
    const packet = await readPacket(socket)
    if (packet[0] === ERR) return [...steps, `error ${parseERR_Packet(packet).errno}`]
    if (packet[0] === AUTH_SWITCH_REQUEST) {
      const { authPlugin, data } = parseAuthSwitchRequest(packet)
      steps.push(`switch ${authPlugin}`)
      next++
      sendPacket(socket, respond(authPlugin, data), next)
    } else if (packet[0] === AUTH_MORE_DATA) {
      steps.push(`more ${packet.subarray(1, 2).toString('hex')}`)
    } else return [...steps, 'OK']
  }
}

/** A proxy with the same account as a local user, in front of a server that has its password in its cache. */
async function prepare(t: Test, server: RealServer): Promise<TestProxy> {
  await (await connect(server, { ...ACCOUNT, ssl: { ca: server.ca } })).end()
  return await startProxy(t, server, { localUsers })
}

/** Flags, the end of the packet, and by which method to respond if not by the greeting's. */
const RESPONSES: Record<string, [capabilities: number, tail: (plugin: string) => string, method?: string]> = {
  'all fields': [DB | PLUGIN | ATTRIBUTES, plugin => `lab\0${plugin}\0\0`],
  'no plugin name': [PLUGIN, () => ''],
  'no plugin name, a native response': [PLUGIN, () => '', 'mysql_native_password'],
  'no plugin name, a database': [DB | PLUGIN, () => 'lab\0'],
  'no plugin name, an empty database': [DB | PLUGIN, () => '\0'],
  'an empty plugin name': [PLUGIN, () => '\0'],
  'an empty plugin name, a native response': [PLUGIN, () => '\0', 'mysql_native_password'],
  'an unknown plugin name': [PLUGIN, () => 'other\0'],
  'a plugin name without its NUL': [PLUGIN, plugin => plugin],
  'no database': [DB, () => '', 'mysql_native_password'],
  'no database and no plugin name': [DB | PLUGIN, () => ''],
  'a database without its NUL': [DB, () => 'lab', 'mysql_native_password'],
  'a database without its flag': [0, () => 'lab\0', 'mysql_native_password'],
  'no CLIENT_PLUGIN_AUTH': [0, () => '', 'mysql_native_password'],
  'no attributes': [PLUGIN | ATTRIBUTES, plugin => `${plugin}\0`],
  'no attributes and no plugin name': [PLUGIN | ATTRIBUTES, () => ''],
  'no attributes and no CLIENT_PLUGIN_AUTH': [ATTRIBUTES, () => '', 'mysql_native_password'],
  'attributes that are malformed inside': [PLUGIN | ATTRIBUTES, plugin => `${plugin}\0\x03\x01a\x09`],
  'no zstd level': [PLUGIN | ZSTD, plugin => `${plugin}\0`],
  'no zstd level, and zlib': [PLUGIN | ZSTD | flags.CLIENT_COMPRESS, plugin => `${plugin}\0`],
  'more bytes than fields': [PLUGIN, plugin => `${plugin}\0more`],
}

testOnEachServer('HandshakeResponse41: what the server accepts, the proxy accepts', async (t, server) => {
  const proxy = await prepare(t, server)
  const open = await startProxy(t, server, { user: 'iam_user' })
  for (const [name, [capabilities, tail, method]] of Object.entries(RESPONSES)) {
    const direct = await logIn(t, server, BASE | capabilities, tail, method)
    const through = await logIn(t, proxy, BASE | capabilities, tail, method)
    const any = await logIn(t, open, BASE | capabilities, tail, method)
    // Where the server refuses, as MySQL does without a zstd level, the proxy may accept.
    if (direct.steps.at(-1) === 'OK') {
      t.equal(through.steps.at(-1), 'OK', `${name}: directly ${direct.steps}, here ${through.steps}`)
      t.equal(any.steps.at(-1), 'OK', `${name}: without local users`)
    }
    for (const { socket } of [direct, through, any]) socket.destroy()
  }
})

testOnEachServer(
  'CLIENT_PLUGIN_AUTH without a plugin name, as @vlasky/mysql sends it: as directly',
  async (t, server) => {
    const proxy = await prepare(t, server)
    const expected = isMariadb(server) ? ['OK'] : ['switch caching_sha2_password', 'more 03', 'OK']
    for (const address of [server, proxy]) {
      const { steps } = await logIn(t, address, BASE | DB | PLUGIN, () => '\0')
      t.same(steps, expected, address === server ? 'directly' : 'here')
    }
  },
)

/** What follows the user name and the response in a COM_CHANGE_USER. */
const CHANGES: Record<string, (plugin: string) => string> = {
  'all fields': plugin => `\0\x2d\0${plugin}\0`,
  'no database': () => '',
  'nothing after the database': () => '\0',
  'a database without its NUL': () => 'lab',
  'half a charset': () => '\0\x2d',
  'no plugin name': () => '\0\x2d\0',
  'an empty plugin name': () => '\0\x2d\0\0',
  'a plugin name without its NUL': plugin => `\0\x2d\0${plugin}`,
  'more bytes than fields': plugin => `\0\x2d\0${plugin}\0more`,
}

testOnEachServer('COM_CHANGE_USER: what the server accepts, the proxy accepts', async (t, server) => {
  const proxy = await prepare(t, server)
  for (const [name, tail] of Object.entries(CHANGES)) {
    const [direct, through] = await Promise.all(
      [server, proxy].map(async address => {
        const session = await logIn(t, address, BASE | PLUGIN, plugin => `${plugin}\0`)
        const { socket, response, plugin } = session
        const head = Buffer.concat([Buffer.from(`\x11${ACCOUNT.user}\0`), Buffer.of(response.length), response])
        sendPacket(socket, Buffer.concat([head, Buffer.from(tail(plugin), 'latin1')]), 0)
        return { ...session, steps: await readAnswer(socket, 0) }
      }),
    )
    if (direct!.steps.at(-1) === 'OK') t.same(through!.steps, direct!.steps, `${name}: ${direct!.steps}`)
    else t.equal(through!.steps.at(-1), 'OK', `${name}: directly ${direct!.steps}`)
    sendPacket(through!.socket, Buffer.from('\x03SELECT @@character_set_client'), 0)
    t.equal((await readPacket(through!.socket))[0], 1, 'and the session goes on')
    for (let packet = 0; packet < 2; packet++) await readPacket(through!.socket)
    t.match((await readPacket(through!.socket)).toString(), 'utf8mb4', 'with the charset of the login')
    for (const { socket } of [direct!, through!]) socket.destroy()
  }
})

test('a missing field does not go upstream, nor does its flag', async t => {
  const received: object[] = []
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      const { capabilities, database, attributes, zstdLevel, authPlugin } = await untilResponse(peer)
      const names = { DB, ATTRIBUTES } as const
      const set = Object.entries(names).filter(([, flag]) => flags.has(capabilities, flag))
      received.push({
        flags: set.map(([name]) => name),
        database: database?.toString(),
        attributes,
        zstdLevel,
        authPlugin,
      })
      peer.send(OK)
      await serveCommands(peer)
    },
  ])
  const { address } = await startScriptedProxy(t, { connect: upstream.address, user: 'iam_user' })
  for (const tail of ['', '\0', 'lab\0', 'lab\0caching_sha2_password\0']) {
    const client = await connectScripted(t, address)
    await client.greeting()
    client.send(handshakeResponse(BASE | DB | PLUGIN | ATTRIBUTES | ZSTD, Buffer.alloc(0), tail), 1)
    t.ok((await client.outcome()).ok, JSON.stringify(tail))
  }
  const authPlugin = 'mysql_clear_password'
  const rest = { attributes: undefined, zstdLevel: undefined, authPlugin }
  t.same(received, [
    { flags: [], database: undefined, ...rest },
    { flags: [], database: undefined, ...rest },
    { flags: ['DB'], database: 'lab', ...rest },
    { flags: ['DB'], database: 'lab', ...rest },
  ])
})
