/** Clients that never log in. Each shows one way for a connection to end or be refused before its login. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { HostPort } from '../src/endpoint.ts'
import { framePacket } from '../src/net/wire.ts'
import { CACHING_SHA2_PASSWORD, MYSQL_NATIVE_PASSWORD } from '../src/protocol/auth.ts'
import { CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_SSL } from '../src/protocol/capabilities.ts'
import {
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  OK,
  parseERR_Packet,
  parseHandshakeResponse41,
  parseHandshakeV10,
} from '../src/protocol/packets.ts'
import { loginPacket, type RawClient, readPacket } from '../test/support/raw-client.ts'

/** The settings of the proxy for a client. */
export type Setting =
  | 'plain'
  | 'impatient'
  | 'without credentials'
  | 'other authority'
  | 'other name'
  | 'local user'
  | 'local TLS'
  | 'other network'

export interface BadClient {
  name: string
  setting: Setting
  /** whether the client also works without a proxy */
  direct: boolean
  /** Resolves with what the client received. Each client has a unique `number`. */
  visit(address: HostPort, number: number): Promise<string>
}

/** The local user of the proxies with local users. No client knows its password. */
export const LOCAL_USER = 'local_user'

const END_TIMEOUT_MS = 30_000

export const badClients: BadClient[] = [
  {
    name: 'connects and disconnects',
    setting: 'plain',
    direct: true,
    async visit(address, number) {
      const socket = await open(address, number)
      socket.destroy()
      return 'nothing'
    },
  },
  {
    name: 'connects and resets',
    setting: 'plain',
    direct: true,
    async visit(address, number) {
      const socket = await open(address, number)
      socket.resetAndDestroy()
      return 'nothing'
    },
  },
  afterGreeting('reads the greeting and disconnects', ({ socket }) => socket.destroy()),
  afterGreeting('reads the greeting and resets', ({ socket }) => socket.resetAndDestroy()),
  afterGreeting('sends garbage', ({ socket }) => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')),
  afterGreeting('sends a malformed response', ({ socket }) => socket.write(framePacket(Buffer.alloc(64, 0xff), 1))),
  afterGreeting('announces 16 MiB', ({ socket }) => socket.write(Buffer.of(0xff, 0xff, 0xff, 1))),
  afterGreeting('responds with a wrong sequence id', ({ socket }, login) => {
    login[3] = 7
    socket.write(login)
  }),
  afterGreeting('requests TLS, then disconnects', ({ socket }) => {
    socket.write(sslRequest)
    socket.end()
  }),
  {
    ...afterGreeting('sends half a response, then nothing', ({ socket }, login) => socket.write(halfOf(login))),
    setting: 'impatient',
  },
  afterGreeting('sends half a response and resets', ({ socket }, login) => {
    socket.write(halfOf(login), () => socket.resetAndDestroy())
  }),
  {
    ...afterGreeting('names another method, disconnects at the AuthSwitchRequest', async client => {
      client.socket.write(answer(client, { authPlugin: otherMethod(client) }))
      await readPacket(client.socket)
      client.socket.destroy()
    }),
    // A server uses the method of the user and may accept the first response.
    direct: false,
  },
  afterGreeting('names a user unknown to the database', (client, _login, number) => {
    client.socket.write(answer(client, { user: Buffer.from(`nobody_${number}`) }))
  }),
  afterGreeting('names a user unknown to the database and resets', (client, _login, number) => {
    const { socket } = client
    socket.write(answer(client, { user: Buffer.from(`nobody_${number}`) }), () => socket.resetAndDestroy())
  }),
  {
    ...afterGreeting('logs in, but the proxy has no credentials', ({ socket }, login) => socket.write(login)),
    setting: 'without credentials',
    direct: false,
  },
  {
    ...afterGreeting("logs in, but the proxy does not know the server's authority", ({ socket }, login) =>
      socket.write(login),
    ),
    setting: 'other authority',
    direct: false,
  },
  {
    ...afterGreeting('logs in, but the certificate has another name', ({ socket }, login) => socket.write(login)),
    setting: 'other name',
    direct: false,
  },
  {
    ...afterGreeting('has a wrong local password', client => {
      client.socket.write(answer(client, { user: Buffer.from(LOCAL_USER), authResponse: randomBytes(32) }))
    }),
    setting: 'local user',
    direct: false,
  },
  {
    ...afterGreeting('is not a local user', client => {
      client.socket.write(answer(client, { user: Buffer.from('nobody'), authResponse: randomBytes(32) }))
    }),
    setting: 'local user',
    direct: false,
  },
  {
    ...afterGreeting('starts TLS and disconnects', ({ socket }) => {
      socket.write(Buffer.concat([sslRequest, partOfClientHello]), () => socket.destroy())
    }),
    setting: 'local TLS',
  },
  {
    ...afterGreeting('sends garbage instead of TLS', ({ socket }) =>
      socket.write(Buffer.concat([sslRequest, randomBytes(600)])),
    ),
    setting: 'local TLS',
  },
  {
    name: 'comes from a network that is not allowed',
    setting: 'other network',
    direct: false,
    visit: async (address, number) => readToEnd(await open(address, number)),
  },
]

const sslRequest = framePacket(
  encodeSSLRequest({
    capabilities: CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION,
    maxPacketSize: 1 << 24,
    charset: 45,
    reserved: Buffer.alloc(23),
  }),
  1,
)

/** The first bytes of a TLS record of 512 bytes. */
const partOfClientHello = Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), randomBytes(40)])

/** A client that reads the greeting and then calls `act`. If the socket is still open, it reads the answer. */
function afterGreeting(name: string, act: (client: RawClient, login: Buffer, number: number) => unknown): BadClient {
  return {
    name,
    setting: 'plain',
    direct: true,
    async visit(address, number) {
      const socket = await open(address, number)
      const first = await readPacket(socket)
      if (first[0] === ERR) {
        socket.destroy()
        return `ERROR ${parseERR_Packet(first).errno} instead of the greeting`
      }
      const client = { socket, greeting: parseHandshakeV10(first) }
      await act(client, loginPacket(client), number)
      return socket.destroyed ? 'the greeting' : await readToEnd(socket)
    },
  }
}

/** Each client of a local proxy uses a separate loopback address, so that throttling affects only itself. */
async function open({ host, port }: HostPort, number: number): Promise<Socket> {
  const localAddress = host === '127.0.0.1' ? `127.1.${(number >> 8) & 0xff}.${number & 0xff}` : undefined
  const socket = connect({ host, port, localAddress, noDelay: true, allowHalfOpen: true })
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

/** The login of iam_user, with changes. */
function answer(client: RawClient, changes: object): Buffer {
  const response = parseHandshakeResponse41(loginPacket(client).subarray(4))
  return framePacket(encodeHandshakeResponse41({ ...response, ...changes }), 1)
}

function otherMethod({ greeting }: RawClient): string {
  return greeting.authPlugin === CACHING_SHA2_PASSWORD ? MYSQL_NATIVE_PASSWORD : CACHING_SHA2_PASSWORD
}

function halfOf(packet: Buffer): Buffer {
  return packet.subarray(0, packet.length >> 1)
}

/** Answers an AuthSwitchRequest with garbage, and reads everything up to the end. */
async function readToEnd(socket: Socket): Promise<string> {
  const timer = setTimeout(() => socket.destroy(), END_TIMEOUT_MS)
  const got: string[] = []
  try {
    for (;;) {
      const payload = await readPacket(socket)
      if (payload[0] === ERR) got.push(`ERROR ${parseERR_Packet(payload).errno}`)
      else if (payload[0] === OK) got.push('OK')
      else if (payload[0] === AUTH_SWITCH_REQUEST) socket.write(framePacket(randomBytes(20), 3))
    }
  } catch {
    clearTimeout(timer)
    socket.destroy()
  }
  return got.join(', ') || 'the greeting, then the end'
}
