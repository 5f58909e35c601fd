/** A program that uses the library. It prints what it finds as JSON, on descriptor 3, so that nothing else may print. */
import { writeSync } from 'node:fs'

const [what, port = ''] = process.argv.slice(2)

/** What a library could leave in the process. */
const stateOfProcess = () => ({
  events: process.eventNames().map(name => `${String(name)} ${process.listenerCount(name)}`),
  environment: { ...process.env },
})

const before = stateOfProcess()
const { createProxy } = await import('../../src/index.ts')

const options = {
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  connect: `127.0.0.1:${port || 1}`,
  listen: '127.0.0.1:0',
}

if (what === 'once') {
  const proxy = createProxy(options)
  await proxy.listen()
  await proxy.close()
  writeSync(3, JSON.stringify(proxy.status().state))
}

/** 300 proxies with one signal. Some have a client, which is refused. */
if (what === 'cycles') {
  const { connect } = await import('node:net')
  const { signal } = new AbortController()
  const alive: WeakRef<object>[] = []
  const cycle = async (hasClient: boolean) => {
    const proxy = createProxy({ ...options, signal, credentials: async () => Promise.reject(new Error('none')) })
    const { host, port } = await proxy.listen()
    const client = hasClient ? connect({ host, port }).on('error', () => {}) : undefined
    if (client) await new Promise(resolve => client.on('data', resolve).on('close', resolve))
    await proxy.close()
    client?.destroy()
    alive.push(new WeakRef(proxy))
  }
  for (let count = 0; count < 300; count++) await cycle(count % 60 === 0)
  const { setTimeout: sleep } = await import('node:timers/promises')
  // A turn of the event loop lets go of the last one.
  for (let turn = 0; turn < 5; turn++) {
    await sleep(1)
    globalThis.gc?.()
  }
  writeSync(
    3,
    JSON.stringify({
      alive: alive.filter(one => one.deref()).length,
      resources: process.getActiveResourcesInfo().filter(name => /TCP|Timeout|Immediate|Process/.test(name)),
      before,
      after: stateOfProcess(),
    }),
  )
}

/** A credentials provider and a server that never answer. */
if (what === 'hung') {
  const { connect } = await import('node:net')
  const proxy = createProxy({ ...options, credentials: () => new Promise(() => {}) })
  const { host, port } = await proxy.listen()
  const client = connect({ host, port }).on('error', () => {})
  await new Promise(resolve => client.once('connect', resolve))
  while (proxy.status().sessions.length === 0) await new Promise(resolve => setImmediate(resolve))
  await proxy.close()
  client.destroy()
  writeSync(3, JSON.stringify(proxy.status().sessions.length))
}
