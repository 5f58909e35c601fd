import { createServer, type Socket } from 'node:net'
import { test } from 'tap'
import type { Context } from '../../src/check/context.ts'
import { checkGreeting, checkTcp } from '../../src/check/network.ts'
import type { StepLog } from '../../src/check/steps.ts'
import type { ProxyError } from '../../src/errors.ts'
import { testEndpoint } from '../support/endpoint.ts'
import { refuseLogin, startScriptedUpstream } from '../support/scripted-upstream.ts'

test('an address that never greets is a warning if another one does', async t => {
  const { port } = await startScriptedUpstream(t, [refuseLogin()])
  const sockets = new Set<Socket>()
  const silent = createServer(socket => sockets.add(socket.on('error', () => {})))
  await new Promise<void>(resolve => silent.listen(port, '127.0.0.2', resolve))
  t.teardown(() => {
    silent.close()
    for (const socket of sockets) socket.destroy()
  })
  const facts: Record<string, unknown> = {}
  const warnings: ProxyError[] = []
  const log: StepLog = {
    fact: (name, value) => {
      facts[name] = value
    },
    warn: error => warnings.push(error),
    progress() {},
  }
  const context = {
    target: { endpoint: { ...testEndpoint, dial: { host: 'nlb.test', port }, loginTimeout: 200 }, state: {} },
    addresses: { dial: ['127.0.0.2', '127.0.0.1'], rds: [] },
    stop: new AbortController().signal,
    cleanup: [],
  } as unknown as Context
  const attempts = await checkTcp(context, log)
  t.match(facts, { [`127.0.0.1:${port}`]: /^open/, [`127.0.0.2:${port}`]: /^open/ })
  await checkGreeting(context, attempts, log)
  t.match(facts, { version: /^8\.0\.39/ })
  t.match(warnings, [{ code: 'UPSTREAM_TIMEOUT', message: 'timed out while waiting for the greeting of 127.0.0.2' }])
  for (const close of context.cleanup.reverse()) await close()
})
