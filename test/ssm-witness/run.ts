/**
 * Holds the Session Manager client against AWS's own programs: npm run ssm-witness
 * - the SSM agent's code for port sessions, against the client of src/tunnel/
 * - the Session Manager plugin, against the stand-in of the agent that the tests use
 * The service between them is a stand-in, because AWS does not publish it. Needs Go. The agent writes its socket to
 * /var/lib/amazon/ssm, so its part needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { signGet } from '../../src/tunnel/ssm-signature.ts'
import { freePort } from '../support/free-port.ts'
import { startStandInAgent } from './agent.ts'
import { buildAgent, buildPlugin, hasGo, NotInstalled } from './programs.ts'
import type { Fate, RelayedSession } from './service.ts'
import { connectTo, createRandom, createWorld, echoed, KEYS, REGION, TARGET, type World } from './world.ts'

/** A scenario that takes longer has failed. */
const PATIENCE_MS = 180_000

let passed = 0
const failures: string[] = []
const running = new Set<ChildProcess>()

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function scenario(name: string, startAgent: StartAgent, play: (world: World) => Promise<void>): Promise<void> {
  const world = await createWorld(startAgent)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${PATIENCE_MS / 1_000} s`)), PATIENCE_MS)
  })
  try {
    await Promise.race([play(world), late])
    passed++
    print(`ok - ${name}`)
  } catch (error) {
    failures.push(name)
    print(`not ok - ${name}\n    ${error instanceof Error ? error.stack : error}`)
  } finally {
    clearTimeout(timer)
    for (const child of running) child.kill('SIGKILL')
    await world.close()
  }
}

type StartAgent = (session: RelayedSession, world: World) => void

function same(found: unknown, wanted: unknown, what: string): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${what}: ${left}, not ${right}`)
}

function start(program: string, args: string[], env: NodeJS.ProcessEnv) {
  const child = spawn(program, args, { env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env } })
  running.add(child)
  const started = { child, output: '', ended: once(child, 'exit').then(([code]) => code as number | null) }
  const onData = (data: Buffer) => {
    started.output += data
  }
  child.stdout.on('data', onData)
  child.stderr.on('data', onData)
  void started.ended.then(() => running.delete(child))
  return started
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise(resolve => setTimeout(resolve, 20))
}

/** The real agent, one process for each session. */
function realAgent(program: string, agents: ReturnType<typeof start>[] = []): StartAgent {
  return (session, { service, caFile }) => {
    const args = [service.url, session.id, 'client', session.host, session.port]
    agents.push(start(program, args, { SSL_CERT_FILE: caFile, AWS_EC2_METADATA_DISABLED: 'true' }))
  }
}

async function nativeAgainstAgent(program: string): Promise<void> {
  const agents: ReturnType<typeof start>[] = []
  const agent = realAgent(program, agents)

  await scenario('the agent: a connection, and the end of the session', agent, async world => {
    const tunnel = await world.openNative()
    const socket = await connectTo(tunnel.address)
    await echoed(socket, 100_000)
    socket.end()
    await once(socket, 'close')
    await tunnel.close()
    same(await tunnel.ended, undefined, 'ended')
    await agents.at(-1)!.ended
    const { output } = agents.at(-1)!
    if (!output.includes('TerminateSession flag received')) throw new Error(`no TerminateSession flag: ${output}`)
    if (!output.includes('the session has ended: Success')) throw new Error(`no success: ${output}`)
    if (process.argv.includes('--record')) await record(world, 'agent')
  })

  await scenario('the agent: many connections at once', agent, async world => {
    const tunnel = await world.openNative()
    const sockets = await Promise.all(Array.from({ length: 20 }, () => connectTo(tunnel.address)))
    await Promise.all(sockets.map((socket, index) => echoed(socket, 1 + index * 5_000)))
    for (const socket of sockets) socket.destroy()
    await tunnel.close()
  })

  await scenario('the agent: a port where nothing listens', agent, async world => {
    const tunnel = await world.openNative({ host: '127.0.0.1', port: await freePort() })
    const moment = performance.now()
    const socket = await connectTo(tunnel.address)
    await once(socket.resume(), 'close')
    const words = await tunnel.wordsSince!(moment)
    if (!words?.startsWith('the SSM agent cannot connect to 127.0.0.1:')) throw new Error(`words: ${words}`)
    await tunnel.close()
  })

  await scenario('the agent: the server closes first', agent, async world => {
    const server = createServer(socket => socket.end('bye'))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const tunnel = await world.openNative({ host: '127.0.0.1', port: (server.address() as { port: number }).port })
    const socket = await connectTo(tunnel.address)
    let text = ''
    socket.on('data', data => {
      text += data
    })
    await once(socket, 'close')
    same(text, 'bye', 'the text')
    server.close()
    await tunnel.close()
  })

  for (const seed of [1, 2, 3]) {
    const name = `the agent: messages are lost, repeated and reordered (seed ${seed})`
    await scenario(name, agent, async world => {
      const random = createRandom(seed)
      const tunnel = await world.openNative()
      world.service.fate = () => fateOf(random())
      const sockets = await Promise.all([1, 2, 3].map(() => connectTo(tunnel.address)))
      await Promise.all(sockets.map(socket => echoed(socket, 30_000)))
      world.service.fate = () => 'deliver'
      for (const socket of sockets) socket.destroy()
      await tunnel.close()
    })
  }

  await scenario('the agent: the connection of the client is lost again and again', agent, async world => {
    const tunnel = await world.openNative()
    const socket = await connectTo(tunnel.address)
    await echoed(socket, 1_000)
    const [session] = world.service.sessions.values()
    const transfer = echoed(socket, 300_000)
    for (let cut = 0; cut < 3; cut++) {
      const count = world.service.relayed.length
      await until(() => world.service.relayed.length > count + 50)
      const before = session!.client
      before!.terminate()
      await until(() => session!.client !== undefined && session!.client !== before)
    }
    await transfer
    same(world.service.calls.filter(call => call === 'ResumeSession').length, 3, 'ResumeSession')
    socket.destroy()
    await tunnel.close()
  })

  // Between messages: the agent processes a message again if its connection breaks before the acknowledgement.
  await scenario('the agent: its connection is lost', agent, async world => {
    const tunnel = await world.openNative()
    const socket = await connectTo(tunnel.address)
    await echoed(socket, 1_000)
    const [session] = world.service.sessions.values()
    session!.agent!.terminate()
    // Without an agent, the service loses these.
    await echoed(socket, 200_000)
    socket.destroy()
    await tunnel.close()
  })

  await scenario('the agent: a client that does not read for a while', agent, async world => {
    const server = createServer(socket => socket.on('error', () => {}).end(Buffer.alloc(6_000_000, 'x')))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const tunnel = await world.openNative({ host: '127.0.0.1', port: (server.address() as { port: number }).port })
    const socket = await connectTo(tunnel.address)
    socket.pause()
    await until(() => world.service.relayed.length > 2_000)
    let received = 0
    socket.on('data', data => {
      received += data.length
    })
    socket.resume()
    await once(socket, 'close')
    same(received, 6_000_000, 'bytes')
    server.close()
    await tunnel.close()
  })

  await scenario('the agent: the service closes the session', agent, async world => {
    const tunnel = await world.openNative()
    const [session] = world.service.sessions.values()
    world.service.closeSession(session!, 'Your session timed out due to inactivity.')
    const why = await tunnel.ended
    same(why?.message, 'Session Manager closed the session: Your session timed out due to inactivity', 'why')
  })
}

function fateOf(number: number): Fate {
  if (number < 0.05) return 'lose'
  if (number < 0.1) return 'repeat'
  return number < 0.15 ? 'delay' : 'deliver'
}

/** The plugin, started as the AWS CLI starts it. */
async function startPlugin(program: string, world: World) {
  const port = await freePort()
  const { host, port: remote } = world.echo
  const parameters = { host: [host], portNumber: [String(remote)], localPortNumber: [String(port)] }
  const request = { Target: TARGET, DocumentName: 'AWS-StartPortForwardingSessionToRemoteHost', Parameters: parameters }
  const response = await fetchStartSession(world, request)
  const env = {
    AWS_SSM_START_SESSION_RESPONSE: JSON.stringify(response),
    SSL_CERT_FILE: world.caFile,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    AWS_SESSION_TOKEN: KEYS.sessionToken,
  }
  const args = [
    'AWS_SSM_START_SESSION_RESPONSE',
    REGION,
    'StartSession',
    '',
    JSON.stringify(request),
    world.service.url,
  ]
  const plugin = start(program, args, env)
  await Promise.race([until(() => plugin.output.includes('Waiting for connections')), plugin.ended])
  if (!plugin.output.includes(`Port ${port} opened`)) throw new Error(`the plugin opened no port: ${plugin.output}`)
  return { ...plugin, address: { host: '127.0.0.1', port }, plugin }
}

async function fetchStartSession(world: World, request: object): Promise<object> {
  const { StartSessionCommand, SSMClient } = await import('@aws-sdk/client-ssm')
  const { createAwsAgent } = await import('../../src/aws/https-agent.ts')
  const agent = createAwsAgent()
  const client = new SSMClient({ region: REGION, credentials: KEYS, requestHandler: { httpsAgent: agent } })
  const { SessionId, StreamUrl, TokenValue } = await client.send(new StartSessionCommand(request as { Target: string }))
  agent.destroy()
  void world
  return { SessionId, StreamUrl, TokenValue }
}

async function pluginAgainstStandIn(program: string): Promise<void> {
  const agents: ReturnType<typeof startStandInAgent>[] = []
  const standIn: StartAgent = (session, { service, ca }) => {
    agents.push(startStandInAgent(session, { address: service.address, ca }))
  }

  await scenario('the plugin: connections, and its end by a signal', standIn, async world => {
    const { address, plugin } = await startPlugin(program, world)
    const sockets = await Promise.all([1, 2, 3].map(() => connectTo(address)))
    await Promise.all(sockets.map((socket, index) => echoed(socket, 1 + index * 50_000)))
    for (const socket of sockets) socket.destroy()
    plugin.child.kill('SIGINT')
    await plugin.ended
    await until(() => agents.at(-1)!.isTerminated)
    if (process.argv.includes('--record')) await record(world, 'plugin')
  })

  await scenario('the plugin: messages are lost, repeated and reordered', standIn, async world => {
    const { address } = await startPlugin(program, world)
    const random = createRandom(4)
    world.service.fate = () => fateOf(random())
    const socket = await connectTo(address)
    await echoed(socket, 20_000)
    socket.destroy()
  })

  await scenario('the plugin: signs the data channel as this client does', standIn, async world => {
    await startPlugin(program, world)
    const [ofPlugin] = world.service.clientHeaders
    const [input] = world.service.clientInputs
    const tunnel = await world.openNative()
    const own = world.service.clientHeaders.at(-1)!
    const date = dateOf(String(ofPlugin!['x-amz-date']))
    const url = new URL(`wss://${ofPlugin!.host}${world.service.clientUrls[0]}`)
    const signed = signGet({ url, region: REGION, service: 'ssmmessages', credentials: KEYS, date })
    same(signed['authorization'], ofPlugin!.authorization, 'Authorization')
    same(own['x-amz-security-token'], ofPlugin!['x-amz-security-token'], 'X-Amz-Security-Token')
    same(Object.keys(world.service.clientInputs.at(-1)!), Object.keys(input!), 'OpenDataChannelInput')
    await tunnel.close()
  })
}

/** `20261126T030000Z` */
function dateOf(text: string): Date {
  return new Date(text.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

/** Writes what went through the service, for test/tunnel/ssm-recorded.test.ts. */
async function record(world: World, name: 'agent' | 'plugin'): Promise<void> {
  const messages = world.service.relayed.filter(({ from }) => (name === 'agent') === (from === 'agent'))
  const lines = messages
    .slice(0, name === 'agent' ? 5 : 6)
    .map(({ from, message }) => ({ from, hex: message.toString('hex') }))
  const file = new URL(`../tunnel/ssm-recorded-${name}.json`, import.meta.url)
  await writeFile(file, `${JSON.stringify(lines, undefined, 2)}\n`)
}

try {
  if (!(await hasGo())) throw new NotInstalled('Go is missing')
  const only = process.argv[2]?.replace(/^--.*/, '') ?? ''
  if (only !== 'agent') await pluginAgainstStandIn(await buildPlugin())
  if (only !== 'plugin') await nativeAgainstAgent(await buildAgent())
  print(`\n${passed} passed, ${failures.length} failed`)
  process.exitCode = failures.length > 0 ? 1 : 0
} catch (error) {
  if (!(error instanceof NotInstalled)) throw error
  print(`not run: ${error.message}`)
}
