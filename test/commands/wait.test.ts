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

test('--admin-listen: asks /startup until it answers 200', async t => {
  const answers = [503, 503, 200]
  const asked: string[] = []
  const server = createHttpServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    response.writeHead(answers.shift() ?? 500).end()
  })
  await wait({ 'admin-listen': await listen(t, server) })
  t.same(asked, Array(3).fill('GET /startup'))
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
