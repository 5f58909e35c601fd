import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type Test, test } from 'tap'
import { waitUntilReady } from '../../src/commands/wait.ts'
import { resolveSettings } from '../../src/config/settings.ts'
import { freePort } from '../support/free-port.ts'

const never = new AbortController().signal

function wait(flags: Record<string, string>, stop: AbortSignal = never): Promise<void> {
  return waitUntilReady(resolveSettings({ max: '1h', ...flags }, {}), stop)
}

async function listen(t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Gives the answers in sequence, then 500, and notes what it was asked. */
async function scriptedHealth(t: Test, answers: [status: number, body?: string][]) {
  const asked: string[] = []
  const server = createHttpServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    const [status, body] = answers.shift() ?? [500]
    response.writeHead(status).end(body)
  })
  return { asked, address: await listen(t, server) }
}

test('asks /readiness until it answers 200', async t => {
  for (const option of ['admin-listen', 'health-listen']) {
    const { asked, address } = await scriptedHealth(t, [[503], [404], [200]])
    await wait({ [option]: address })
    t.same(asked, Array(3).fill('GET /readiness'))
  }
})

test('--until started: asks /startup', async t => {
  const { asked, address } = await scriptedHealth(t, [[503], [200]])
  await wait({ 'admin-listen': address, until: 'started' })
  t.same(asked, Array(2).fill('GET /startup'))
})

test('--endpoint: asks for that endpoint, and a proxy without it ends the wait', async t => {
  const { asked, address } = await scriptedHealth(t, [
    [503],
    [200],
    [404, 'There is no such endpoint. There are: shop\n'],
  ])
  await wait({ 'health-listen': address, endpoint: 'a/b é' })
  t.same(asked, Array(2).fill('GET /readiness?endpoint=a%2Fb+%C3%A9'))
  await t.rejects(wait({ 'health-listen': address, endpoint: 'etl' }), {
    code: 'CONFIG_INVALID',
    message: '--endpoint: There is no such endpoint. There are: shop',
  })
  await t.rejects(wait({ endpoint: 'etl' }), { code: 'CONFIG_INVALID', message: /needs --admin-listen or --health-l/ })
  await t.rejects(wait({ 'health-listen': address, endpoint: 'etl', until: 'started' }), { code: 'CONFIG_INVALID' })
})

test('an address that means all addresses of this machine is asked on loopback', async t => {
  for (const [any, loopback] of [
    ['0.0.0.0', '127.0.0.1'],
    ['[::]', '::1'],
  ] as const) {
    const server = createHttpServer((_request, response) => void response.end())
    server.listen(0, loopback)
    await once(server, 'listening')
    t.teardown(() => server.close())
    await wait({ 'health-listen': `${any}:${(server.address() as AddressInfo).port}` })
  }
})

test('WAIT_TIMEOUT says why the proxy is not ready', async t => {
  const { address } = await scriptedHealth(t, [[503, 'shop: no AWS credentials\netl: \x1b[31mfull\n']])
  await t.rejects(wait({ 'admin-listen': address, max: '1ms' }), {
    code: 'WAIT_TIMEOUT',
    message: `no proxy was ready at ${address} within 1ms; it says: shop: no AWS credentials; etl: ; [31mfull`,
  })
})

test('--listen: connects until something listens', async t => {
  const port = await freePort()
  const waiting = wait({ listen: `127.0.0.1:${port}` })
  const server = createServer(socket => socket.destroy()).listen(port, '127.0.0.1')
  t.teardown(() => server.close())
  await waiting
  t.ok(server.listening)
  await wait({ listen: 'systemd' })
})

test('--max: WAIT_TIMEOUT names the address', async t => {
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  for (const option of ['listen', 'admin-listen']) {
    await t.rejects(wait({ [option]: address, max: '1ms' }), {
      code: 'WAIT_TIMEOUT',
      message: `no proxy was ready at ${address} within 1ms`,
    })
  }
})

test('a signal ends the wait', async t => {
  const stop = new AbortController()
  const waiting = wait({ 'admin-listen': `127.0.0.1:${await freePort()}` }, stop.signal)
  stop.abort()
  await waiting
  t.pass('before --max')
})
