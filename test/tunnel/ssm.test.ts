import { once } from 'node:events'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { readSsmTarget, ssmTargetProblem } from '../../src/ssm-target.ts'
import { createSsmTransport } from '../../src/tunnel/ssm.ts'
import { installedPlugin, isUsable } from '../../src/tunnel/ssm-plugin.ts'
import { createSsmApi } from '../../src/tunnel/ssm-session.ts'
import { type AgentOptions, type StandInAgent, startStandInAgent } from '../ssm-witness/agent.ts'
import type { SsmServiceOptions } from '../ssm-witness/service.ts'
import {
  connectTo,
  createRandom,
  createWorld,
  echoed,
  KEYS,
  REGION,
  setVariables,
  TARGET,
} from '../ssm-witness/world.ts'
import { failureOf } from '../support/failure-of.ts'
import { freePort } from '../support/free-port.ts'

const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }

/** A service with stand-in agents. */
async function start(t: Test, agent: Partial<AgentOptions> = {}, more: Partial<SsmServiceOptions> = {}) {
  const agents: StandInAgent[] = []
  const world = await createWorld((session, { service, ca }) => {
    agents.push(startStandInAgent(session, { address: service.address, ca, ...agent }))
  }, more)
  t.teardown(() => world.close())
  return { world, agents }
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise(resolve => setTimeout(resolve, 5))
}

test('connections through the data channel, and the end of the session', async t => {
  const { world, agents } = await start(t)
  const tunnel = await world.openNative()
  t.match(agents[0]!.response, {
    ProcessedClientActions: [{ ActionType: 'SessionType', ActionStatus: 1 }],
    Errors: null,
  })
  t.match(world.service.clientHeaders[0], {
    authorization: /^AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE\/\d{8}\/eu-west-1\/ssmmessages\/aws4_request, /,
    'x-amz-security-token': KEYS.sessionToken,
  })
  const sockets = await Promise.all([1, 2, 3].map(() => connectTo(tunnel.address)))
  await Promise.all(sockets.map((socket, index) => echoed(socket, 1 + index * 100_000)))
  for (const socket of sockets) socket.destroy()
  await tunnel.close()
  t.equal(await tunnel.ended, undefined)
  await until(() => agents[0]!.isTerminated)
  t.same(world.service.calls, ['StartSession', 'TerminateSession'])
  await tunnel.close()
})

test('a server that closes first, and a client that closes first', async t => {
  const { world } = await start(t)
  const closed: string[] = []
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    socket.once('data', data => {
      if (String(data) === 'bye?') socket.end('bye')
    })
    socket.on('end', () => {
      closed.push('end')
      socket.destroy()
    })
    socket.on('close', () => closed.push('close'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const tunnel = await world.openNative({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  const first = await connectTo(tunnel.address)
  first.write('bye?')
  t.equal(String((await once(first, 'data'))[0]), 'bye')
  await once(first, 'close')
  const second = await connectTo(tunnel.address)
  second.end('nothing')
  await until(() => closed.includes('end'))
  await tunnel.close()
})

test('an agent that cannot connect: the words for the error', async t => {
  const { world } = await start(t)
  const port = await freePort()
  const tunnel = await world.openNative({ host: '127.0.0.1', port })
  t.equal(await tunnel.wordsSince!(performance.now()), undefined)
  const moment = performance.now()
  const socket = await connectTo(tunnel.address)
  await once(socket.resume(), 'close')
  t.equal(await tunnel.wordsSince!(moment), `the SSM agent cannot connect to 127.0.0.1:${port}`)
  await tunnel.close()
})

for (const seed of [1, 2]) {
  test(`lost, repeated and reordered messages, and lost connections (seed ${seed})`, async t => {
    const { world, agents } = await start(t)
    const tunnel = await world.openNative()
    const random = createRandom(seed)
    let count = 0
    world.service.fate = () => {
      if (++count % 60 === 0) {
        const [session] = world.service.sessions.values()
        if (count % 120 === 60) session?.client?.terminate()
        else agents[0]!.cut()
      }
      const number = random()
      if (number < 0.04) return 'lose'
      if (number < 0.08) return 'repeat'
      return number < 0.12 ? 'delay' : 'deliver'
    }
    const sockets = await Promise.all([1, 2].map(() => connectTo(tunnel.address)))
    await Promise.all(sockets.map(socket => echoed(socket, 20_000)))
    world.service.fate = () => 'deliver'
    t.ok(world.service.calls.includes('ResumeSession'))
    t.same(
      world.service.clientInputs.map(input => input['ClientId']),
      world.service.clientInputs.map(() => world.service.clientInputs[0]!['ClientId']),
      'the same client',
    )
    for (const socket of sockets) socket.destroy()
    await tunnel.close()
  })
}

test('a client that does not read: the data channel waits, and nothing is lost', async t => {
  const { world } = await start(t)
  const bytes = 3_000_000
  const highWater = 64 * 1024
  const server = createServer(socket => socket.on('error', () => {}).end(Buffer.alloc(bytes, 'x')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const to = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const tunnel = await world.openNative(to, undefined, highWater)
  const socket = await connectTo(tunnel.address)
  socket.pause()
  await until(() => world.service.relayed.length > 3_200)
  let received = 0
  socket.on('data', data => {
    received += data.length
  })
  socket.resume()
  await once(socket, 'close')
  t.equal(received, bytes)
  await tunnel.close()
})

test('the service closes the session: the tunnel ends, with its reason', async t => {
  const { world } = await start(t)
  const tunnel = await world.openNative()
  const socket = await connectTo(tunnel.address)
  const isClosed = once(
    socket.on('error', () => {}),
    'close',
  )
  const [session] = world.service.sessions.values()
  world.service.closeSession(session!, 'Your session timed out')
  const why = await tunnel.ended
  t.match(why, { code: 'TUNNEL_LOST', message: 'Session Manager closed the session: Your session timed out' })
  await isClosed
})

test('a connection that is lost after the session has ended', async t => {
  const { world } = await start(t)
  const tunnel = await world.openNative()
  const [session] = world.service.sessions.values()
  world.service.sessions.clear()
  session!.client!.terminate()
  t.match(await tunnel.ended, { code: 'TUNNEL_LOST', message: 'the session has ended at Session Manager' })
})

test('a handshake that this client refuses ends the session', async t => {
  const { world } = await start(t, { actions: [{ ActionType: 'KMSEncryption', ActionParameters: {} }] })
  const error = await failureOf(world.openNative())
  t.match(error, { code: 'SSM_UNSUPPORTED', message: /KMS key, which only the Session Manager plugin can do/ })
  t.same(world.service.calls, ['StartSession', 'TerminateSession'])
})

test('an agent that does not come: the tunnel-timeout ends the start', async t => {
  const { world } = await start(t, {}, { startAgent: () => {} })
  const stop = new AbortController()
  const opening = world.openNative(world.echo, stop.signal)
  await until(() => world.service.clientInputs.length > 0)
  stop.abort(new ProxyError('TUNNEL_TIMEOUT', 'too late'))
  t.match(await failureOf(opening), { code: 'TUNNEL_TIMEOUT' })
  t.equal(world.service.sessions.size, 0, 'the session is terminated')
  const early = await failureOf(world.openNative(world.echo, stop.signal))
  t.match(early, { code: 'TUNNEL_TIMEOUT' })
})

test('the end of a session does not wait for credentials that hang', async t => {
  const target = readSsmTarget(TARGET)!
  const credentials = () => new Promise<never>(() => {})
  const api = createSsmApi({ target, region: REGION, credentials, terminateTimeout: 20 })
  t.equal(await api.terminate({ id: 'session', streamUrl: 'wss://localhost/', token: 'token' }), undefined)
})

const REFUSALS = [
  { name: 'TargetNotConnected', code: 'SSM_TARGET_NOT_CONNECTED', message: /^Systems Manager has no connection to i-/ },
  { name: 'AccessDeniedException', code: 'SSM_ACCESS_DENIED', message: /^ssm:StartSession failed/ },
  { name: 'ExpiredTokenException', code: 'CREDENTIALS_REJECTED', message: /^ssm:StartSession failed/ },
  { name: 'InvalidDocument', code: 'AWS_CALL_REFUSED', message: /^ssm:StartSession failed/ },
  { name: 'ThrottlingException', code: 'AWS_THROTTLED', message: /^ssm:StartSession failed/ },
]

for (const { name, code, message } of REFUSALS) {
  test(`StartSession fails with ${name}`, async t => {
    const { world } = await start(t, {}, { refusal: () => ({ name, message: 'no' }) })
    t.match(await failureOf(world.openNative()), { code, message })
  })
}

test('the data channel is refused, or an answer is not from AWS', async t => {
  const { world } = await start(t)
  const { start: original } = world.service.answers
  world.service.answers.webSocket = 403
  t.match(await failureOf(world.openNative()), {
    code: 'SSM_ACCESS_DENIED',
    message: /refuses the data channel: HTTP status 403/,
  })
  world.service.answers.webSocket = 500
  t.match(await failureOf(world.openNative()), { code: 'AWS_UNREACHABLE', message: /HTTP status 500/ })
  world.service.answers.webSocket = undefined
  world.service.answers.start = { SessionId: 'x', TokenValue: 'y', StreamUrl: 'http://login.example.com' }
  t.match(await failureOf(world.openNative()), { code: 'AWS_UNREACHABLE', message: /the answer is not from AWS/ })
  world.service.answers.start = { SessionId: 'x', TokenValue: 'y', StreamUrl: `wss://localhost:${await freePort()}/` }
  t.match(await failureOf(world.openNative()), {
    code: 'AWS_UNREACHABLE',
    message: /no connection to localhost:\d+: ECONNREFUSED/,
  })
  world.service.answers.start = original
})

test('a URL that is signed already gets no second signature', async t => {
  const { world } = await start(t)
  world.service.answers.query = '&X-Amz-Signature=abc'
  const tunnel = await world.openNative()
  t.notOk('authorization' in world.service.clientHeaders[0]!)
  await tunnel.close()
})

/** A plugin that forwards directly, and says how it was started. */
const FAKE_PLUGIN = `import { writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
const [, , response, ...args] = process.argv
if (response === '--version') { console.log(process.env.FAKE_VERSION); process.exit() }
const { host: [host], portNumber: [port], localPortNumber: [localPort] } = JSON.parse(args[3]).Parameters
writeFileSync(process.env.FAKE_LOG, JSON.stringify({ response, args, env: process.env }))
if (process.env.FAKE_FAILURE) { console.log(process.env.FAKE_FAILURE); process.exit(1) }
createServer(socket => socket.pipe(connect(port, host)).pipe(socket)).listen(localPort, '127.0.0.1')
`

async function installPlugin(t: Test, version: string, variables: Record<string, string> = {}): Promise<string> {
  const folder = t.testdir({})
  await mkdir(join(folder, 'bin'))
  const script = join(folder, 'plugin.mjs')
  await writeFile(script, FAKE_PLUGIN)
  await writeFile(
    join(folder, 'bin', 'session-manager-plugin'),
    `#!/bin/sh\nexec '${process.execPath}' '${script}' "$@"\n`,
  )
  await chmod(join(folder, 'bin', 'session-manager-plugin'), 0o755)
  const logFile = join(folder, 'log.json')
  const PATH = `${join(folder, 'bin')}${delimiter}${process.env['PATH']}`
  t.teardown(setVariables({ FAKE_VERSION: version, FAKE_LOG: logFile, PATH, ...variables }))
  return logFile
}

function transport() {
  const shared = { target: TARGET, region: REGION, profile: undefined, credentials: async () => KEYS, log }
  return createSsmTransport(shared)
}

test('with the plugin: it is started as the AWS CLI starts it', async t => {
  const { world } = await start(t)
  const logFile = await installPlugin(t, '1.2.707.0')
  const made = transport()
  const tunnel = await made.open(world.echo, new AbortController().signal)
  await echoed(tunnel.connection!, 1_000)
  const { response, args, env } = JSON.parse(await readFile(logFile, 'utf8'))
  t.equal(response, 'AWS_SSM_START_SESSION_RESPONSE')
  const [region, operation, profile, parameters, endpoint] = args
  t.same([region, operation, profile, endpoint], [REGION, 'StartSession', '', world.service.url])
  t.match(JSON.parse(parameters), {
    Target: TARGET,
    DocumentName: 'AWS-StartPortForwardingSessionToRemoteHost',
    Parameters: {
      host: ['127.0.0.1'],
      portNumber: [String(world.echo.port)],
      localPortNumber: [String(tunnel.address.port)],
    },
  })
  const [session] = world.service.sessions.values()
  t.match(JSON.parse(env.AWS_SSM_START_SESSION_RESPONSE), { SessionId: session!.id, TokenValue: session!.token })
  t.match(env, { AWS_ACCESS_KEY_ID: KEYS.accessKeyId, AWS_SESSION_TOKEN: KEYS.sessionToken })
  tunnel.connection!.destroy()
  await tunnel.close()
  t.ok(world.service.calls.includes('TerminateSession'))
})

test('a plugin that fails: the session is terminated, and the hint fits', async t => {
  const { world } = await start(t)
  await installPlugin(t, '1.2.707.0', { FAKE_FAILURE: 'Cannot perform start session: EOF' })
  const error = (await failureOf(transport().open(world.echo, new AbortController().signal))) as ProxyError
  t.match(error, { code: 'TUNNEL_FAILED', message: /session-manager-plugin ended with exit code 1: Cannot perform/ })
  t.match(error.hint, /^Run mysql-iam-proxy check/)
  t.ok(world.service.calls.includes('TerminateSession'))
})

test('without a plugin, or with an old one, the proxy speaks the protocol itself', async t => {
  const { world } = await start(t)
  await installPlugin(t, '1.2.463.0')
  t.equal(await installedPlugin(), '1.2.463.0')
  const made = transport()
  t.equal(made.name, `Session Manager through ${TARGET}`)
  t.match(
    made.command!(world.echo),
    /^aws ssm start-session --region eu-west-1 --target i-0123456789abcdef0 --document-name /,
  )
  const tunnel = await made.open(world.echo, new AbortController().signal)
  t.equal(tunnel.connection, undefined)
  const socket = await connectTo(tunnel.address)
  await echoed(socket, 1_000)
  socket.destroy()
  await tunnel.close()
})

test('versions of the plugin', async t => {
  t.ok(isUsable('1.2.707.0'))
  t.ok(isUsable('1.2.498.0'))
  t.notOk(isUsable('1.2.497.0'))
  t.notOk(isUsable(undefined))
  await installPlugin(t, 'something else')
  t.equal(await installedPlugin(), undefined)
})

test('targets', t => {
  for (const id of ['i-01234567', 'i-0123456789abcdef0']) t.same(readSsmTarget(id), { id, kind: 'instance' })
  t.match(readSsmTarget('mi-0123456789abcdef0'), { kind: 'managed' })
  const task = '0123456789abcdef0123456789abcdef'
  t.match(readSsmTarget(`ecs:my_cluster_${task}_${task}-1234567890`), { kind: 'ecs', cluster: 'my_cluster', task })
  t.match(readSsmTarget(`ecs:c_${task}_${'a'.repeat(64)}`), { cluster: 'c', task }, 'a runtime id of ECS on EC2')
  t.equal(ssmTargetProblem('i-01234567'), undefined)
  t.match(ssmTargetProblem('ecs:c'), /^"ecs:c" is not ecs:/)
  t.match(ssmTargetProblem('bastion'), /^"bastion" is not an instance/)
  t.end()
})
