/** The option ssm-target of the whole proxy, without the plugin: stand-ins of the service and the agent before a database. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Test, test } from 'tap'
import { createAuthority } from '../../src/demo/certificates.ts'
import type { ProxyOptions } from '../../src/index.ts'
import { type StandInAgent, startStandInAgent } from '../ssm-witness/agent.ts'
import { keepsSecrets, playProduct, settingsFor, startProduct } from '../ssm-witness/product.ts'
import type { SsmServiceOptions } from '../ssm-witness/service.ts'
import { createWorld, setVariables, TARGET, type World } from '../ssm-witness/world.ts'
import { freePort } from '../support/free-port.ts'
import { realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'
import { checkNoSecrets, connectMysql, hasToken, logIn, startProxy, until } from '../support/proxy.ts'
import {
  goodLogin,
  OK,
  RDS_HOST,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

test('logins, twenty megabytes each way, a broken connection of the agent, and the end of the session', async t => {
  const product = await startProduct(await realServer(t), t.testdir({}))
  t.teardown(() => product.close())
  await playProduct(product)
  t.match(product.agents[0], { isTerminated: true })
  t.match(product.said(), 'the data channel of Session Manager is open', 'without the plugin')
})

test('check opens a session, and ends it', async t => {
  const [server, path] = [await realServer(t), t.testdir({})]
  const world = await createWorld((session, { service, ca }) => {
    startStandInAgent(session, { address: service.address, ca })
  })
  t.teardown(() => world.close())
  const { flags, environment } = await settingsFor(world, server, path)
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, 'check', 'iam_user', ...flags], { env: environment })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', chunk => {
      said += chunk
    })
  }
  const [code] = await once(child, 'close')
  t.equal(code, 0, said)
  t.match(said, 'no session-manager-plugin is installed')
  t.match(said, `aws ssm start-session --region ${server.region} --target ${TARGET}`)
  t.match(said, /through Session Manager through\s+i-0123456789abcdef0/)
  t.same(world.service.calls, ['StartSession', 'TerminateSession'])
  keepsSecrets({ world, said: () => said })
})

/** A proxy in this process that leads to `upstream` through a session. */
async function startTunnelled(
  t: Test,
  connect: string,
  more: Partial<ProxyOptions> = {},
  service: Partial<SsmServiceOptions> = {},
) {
  const agents: StandInAgent[] = []
  const world = await createWorld((session, { service, ca }) => {
    agents.push(startStandInAgent(session, { address: service.address, ca }))
  }, service)
  t.teardown(() => world.close())
  t.teardown(setVariables({ PATH: t.testdir({}) }))
  const options = { connect, ssmTarget: TARGET, tunnelTimeout: 300_000, tokenInHandshake: 'always' as const, ...more }
  const proxy = await startProxy(t, options)
  return { world, agents, ...proxy }
}

/** A server whose certificate does not fit, and that would log the client in anyway. */
const WRONG_CERTIFICATES = {
  'of another database': {
    issue: async () => {
      const { authority } = await testCertificates()
      return await authority.issue({ names: ['other-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'] })
    },
    message: /does not name database-1\./,
  },
  'of another authority': {
    issue: async () => await (await createAuthority('another')).issue({ names: [RDS_HOST] }),
    message: /not issued by a trusted CA/,
  },
}

for (const [name, { issue, message }] of Object.entries(WRONG_CERTIFICATES)) {
  test(`a certificate ${name}: no token leaves`, async t => {
    const certificate = await issue()
    const upstream = await startScriptedUpstream(t, [
      async peer => {
        await untilResponse(peer, {}, certificate)
        peer.send(OK)
      },
    ])
    const { world, address, log } = await startTunnelled(t, upstream.address)
    const { ok, error } = await logIn(t, address)
    t.notOk(ok)
    t.match(error?.message, message)
    t.equal(upstream.connections.length, 1)
    t.notOk(hasToken(upstream.connections[0]!))
    keepsSecrets({ world, said: () => JSON.stringify(log) + error?.message })
    checkNoSecrets(t, log)
  })
}

test('the session ends after the idle time, and the next client starts another one', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { world, address, proxy } = await startTunnelled(t, upstream.address, { tunnelIdleTimeout: 50 })
  const count = (call: string) => world.service.calls.filter(each => each === call).length
  for (const round of [1, 2]) {
    t.ok((await logIn(t, address)).ok)
    t.ok(await until(() => count('TerminateSession') === round))
    t.equal(count('StartSession'), round)
  }
  t.match(proxy.state.tunnel, { word: 'idle', restarts: 0 })
})

test('the end of the proxy ends a session that is open, and one that is starting', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const open = await startTunnelled(t, upstream.address, { tunnelIdleTimeout: 0 })
  t.ok(await until(() => open.proxy.state.tunnel?.word === 'open'))
  await open.proxy.close()
  t.same(open.world.service.calls, ['StartSession', 'TerminateSession'])
  const starting = await startTunnelled(t, upstream.address, { tunnelIdleTimeout: 0 }, { startAgent: () => {} })
  t.ok(await until(() => starting.world.service.clientInputs.length === 1))
  await starting.proxy.close()
  t.same(starting.world.service.calls, ['StartSession', 'TerminateSession'])
})

test('a session that the service closes ends its clients with the reason, and the next login works', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { world, address, log } = await startTunnelled(t, upstream.address)
  const connection = await connectMysql(address)
  const isLost = once(connection, 'error')
  const [session] = world.service.sessions.values()
  world.service.closeSession(session!, 'Your session timed out due to inactivity.')
  await isLost
  t.ok(await until(() => log.some(({ message }) => message === 'session ended')))
  t.match(log.find(({ message }) => message === 'session ended')?.fields, { endedBy: 'TUNNEL_LOST' })
  t.ok(log.some(({ message }) => /closed the session: Your session timed out due to inactivity/.test(message)))
  t.ok((await logIn(t, address)).ok)
})

/** What a client reads when its session cannot start or cannot lead to the database. */
const FAILURES: {
  name: string
  refusal?: SsmServiceOptions['refusal']
  prepare?: (world: World) => void
  message: RegExp
}[] = [
  {
    name: 'a target that is not connected',
    refusal: () => ({ name: 'TargetNotConnected', message: `${TARGET} is not connected.` }),
    message: /no connection to i-0123456789abcdef0 in eu-west-1\. .*its SSM agent is online in Fleet Manager\./,
  },
  {
    name: 'a policy that does not allow the session',
    refusal: () => ({ name: 'AccessDeniedException', message: 'User: x is not authorized to perform' }),
    message: /ssm:StartSession failed: .*Allow ssm:StartSession in the IAM policy/,
  },
  {
    name: 'a policy that does not allow the data channel',
    prepare: ({ service }) => {
      service.answers.webSocket = 403
    },
    message: /refuses the data channel: HTTP status 403\. Allow ssmmessages:OpenDataChannel in the IAM policy/,
  },
  {
    name: 'a database that the agent cannot reach',
    message: /closed it before the greeting: the SSM agent cannot connect to 127\.0\.0\.1:\d+/,
  },
]

for (const { name, refusal, prepare, message } of FAILURES) {
  test(`the client's error: ${name}`, async t => {
    const nobody = `127.0.0.1:${await freePort()}`
    const { world, address, log } = await startTunnelled(t, nobody, {}, refusal ? { refusal } : {})
    prepare?.(world)
    const { ok, error } = await logIn(t, address)
    t.notOk(ok)
    t.match(error?.message, message)
    checkNoSecrets(t, log)
  })
}
