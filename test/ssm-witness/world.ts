/** What the scenarios share: the service with its certificate, a server to reach, and clients that check what comes back. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAwsAgent } from '../../src/aws/https-agent.ts'
import type { HostPort } from '../../src/endpoint.ts'
import { readSsmTarget } from '../../src/ssm-target.ts'
import { openNativeTunnel } from '../../src/tunnel/ssm-native.ts'
import { createSsmApi, type SsmApi } from '../../src/tunnel/ssm-session.ts'
import type { OpenTunnel } from '../../src/tunnel/tunnel.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import { type RelayedSession, type SsmService, type SsmServiceOptions, startSsmService } from './service.ts'

export const TARGET = 'i-0123456789abcdef0'
export const REGION = 'eu-west-1'
export const KEYS = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'secret', sessionToken: 'session-token' }

export interface World {
  service: SsmService
  /** PEM of the authority, and its file */
  ca: string
  caFile: string
  /** sends everything back */
  echo: HostPort
  /** of the last client */
  api: SsmApi
  openNative(to?: HostPort, stop?: AbortSignal, highWater?: number): Promise<OpenTunnel>
  close(): Promise<void>
}

export async function createWorld(
  startAgent: (session: RelayedSession, world: World) => void,
  more: Partial<SsmServiceOptions> = {},
): Promise<World> {
  const authority = createRdsAuthority('', { commonName: 'a CA of the tests' })
  const { certificate, key } = authority.issue('localhost')
  const folder = await mkdtemp(join(tmpdir(), 'ssm-'))
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, authority.root)
  const restore = setVariables({ AWS_CA_BUNDLE: caFile, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' })
  const echoing = new Set<Socket>()
  const echoServer = await startEcho(echoing)
  const service = await startSsmService({
    cert: certificate,
    key,
    startAgent: session => startAgent(session, world),
    ...more,
  })
  const restoreUrl = setVariables({ AWS_ENDPOINT_URL_SSM: service.url })
  const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
  const world: World = {
    service,
    ca: authority.root,
    caFile,
    echo: { host: '127.0.0.1', port: (echoServer.address() as AddressInfo).port },
    api: undefined!,
    async openNative(to = world.echo, stop = new AbortController().signal, highWater = 4 * 1024 * 1024) {
      const agent = createAwsAgent()
      world.api = createSsmApi({
        target: readSsmTarget(TARGET)!,
        region: REGION,
        credentials: async () => KEYS,
        agent,
      })
      return await openNativeTunnel(to, stop, { api: world.api, agent, log, highWater })
    },
    async close() {
      service.close()
      echoServer.close()
      for (const socket of echoing) socket.destroy()
      restoreUrl()
      restore()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return world
}

/** Sets environment variables. Returns what sets them back. */
export function setVariables(variables: Record<string, string>): () => void {
  const before = Object.keys(variables).map(name => [name, process.env[name]] as const)
  Object.assign(process.env, variables)
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

async function startEcho(sockets: Set<Socket>): Promise<Server> {
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

export async function connectTo({ host, port }: HostPort): Promise<Socket> {
  const socket = connect({ host, port })
  await once(socket, 'connect')
  return socket
}

/** Sends random bytes and compares what comes back, byte for byte. */
export async function echoed(socket: Socket, bytes: number): Promise<void> {
  const sent = randomBytes(bytes)
  const hash = createHash('sha256')
  let received = 0
  const all = new Promise<void>((resolve, reject) => {
    socket.on('data', data => {
      hash.update(data)
      received += data.length
      if (received >= bytes) resolve()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`closed after ${received} of ${bytes} bytes`)))
  })
  socket.write(sent)
  await all
  socket.removeAllListeners('data')
  if (received !== bytes) throw new Error(`${received} bytes came back, not ${bytes}`)
  if (hash.digest('hex') !== createHash('sha256').update(sent).digest('hex')) throw new Error('other bytes came back')
}

/** Numbers between 0 and 1 that are the same for each run. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
