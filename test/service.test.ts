import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { loadConfig } from '../src/config/load.ts'
import { silent } from '../src/log.ts'
import { startService } from '../src/service.ts'
import { startDnsServer } from './support/dns-server.ts'
import { startElb, TARGET_GROUP } from './support/elb.ts'
import { until } from './support/raw-client.ts'

const RDS = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

test('sync-targets beside an endpoint stops with it', async t => {
  const [elb, dns] = [await startElb(), await startDnsServer()]
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => Promise.all([elb.close(), dns.close(), rm(directory, { recursive: true })]))
  const environment = {
    AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elb.url,
    AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests',
  }
  Object.assign(process.env, environment)
  t.teardown(() => {
    for (const name of Object.keys(environment)) delete process.env[name]
  })
  elb.healthOfNew = ['healthy']
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.2'] })
  const config = join(directory, 'config.yaml')
  const endpoint = `endpoints:\n  - rds-endpoint: ${RDS}\n    listen: 127.0.0.1:0\n`
  const sync = `    sync: {target-group-arn: '${TARGET_GROUP}', resolver: ['${dns.address}'], confirmations: 1, interval: 100ms}\n`
  const load = async (text: string) => {
    await writeFile(config, text)
    return await loadConfig({ config }, [], {})
  }
  const service = await startService(await load(endpoint + sync), silent)
  t.teardown(() => service.stop(0))
  const addresses = () => elb.targets.filter(({ state }) => state !== 'draining').map(({ address }) => address)
  await until('the target has moved', () => addresses().join() === '10.0.0.2')
  await until('the state has a result', () => service.states()[0]?.sync !== undefined)
  dns.answer('SERVFAIL')
  await until('the state has the refusal', () => service.states()[0]?.sync?.outcome === 'refused')
  t.match(service.states()[0]?.sync?.reason, /ESERVFAIL/)

  await service.reload(await load(endpoint))
  t.equal(service.states().length, 1)
  t.equal(service.states()[0]?.sync, undefined)
  dns.answer({ addresses: ['10.0.0.3'] })
  // A question may still be under way.
  await until('nobody follows it any more', async () => {
    const asked = dns.questions.length
    await new Promise(resolve => setTimeout(resolve, 400)) // four times the interval
    return dns.questions.length === asked
  })
  t.same(addresses(), ['10.0.0.2'])
})

test('all endpoints start, or none', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const socket = join(directory, 'mysql.sock')
  const hosts = [`${RDS}?listen=unix:${socket}`, `${RDS}?address=192.0.2.1&port=1&trust-network=true`]
  await t.rejects(startService(await loadConfig({}, hosts, {}), silent), {
    code: 'LISTEN_FAILED',
    message: /: listen: cannot listen on 192\.0\.2\.1:1: /,
  })
  const again = await startService(await loadConfig({}, hosts.slice(0, 1), {}), silent)
  t.equal(again.states()[0]?.address, `unix:${socket}`, 'the first one listens no longer')
  await again.stop(0)
})

test('a changed endpoint takes over its unix socket at a reload', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-')) // short, as the path of a socket must be
  t.teardown(() => rm(directory, { recursive: true }))
  const path = join(directory, 'mysql.sock')
  // It never greets, so that the session of a client lasts.
  const database = createServer(() => {}).listen(0, '127.0.0.1')
  t.teardown(() => database.close())
  await once(database, 'listening')
  const { port } = database.address() as AddressInfo
  const load = (maximum: number) =>
    loadConfig({}, [`${RDS}?connect=127.0.0.1:${port}&listen=unix:${path}&max-connections=${maximum}`], {})
  const service = await startService(await load(1), silent)
  for (const maximum of [2, 3]) {
    await service.reload(await load(maximum))
    const client = connect({ path })
    await until(
      'the changed endpoint has the client',
      () => service.states().find(({ maxConnections }) => maxConnections === maximum)?.sessions.size === 1,
    )
    client.destroy()
  }
  await service.stop(0)
  t.notOk(existsSync(path), 'removed at the end')
})

test('an unexpected stop of sync-targets is logged, and the proxy continues', async t => {
  const [elb, dns] = [await startElb(), await startDnsServer()]
  const directory = t.testdir({
    'config.yaml': `endpoints:
  - rds-endpoint: ${RDS}
    listen: 127.0.0.1:0
    sync: {target-group-arn: '${TARGET_GROUP}', resolver: ['${dns.address}'], confirmations: 1, interval: 100ms}
`,
  })
  t.teardown(() => Promise.all([elb.close(), dns.close()]))
  t.intercept(process, 'env', {
    value: {
      ...process.env,
      AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elb.url,
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests',
    },
  })
  dns.answer('SERVFAIL')
  const errors: { fields: object; message: string }[] = []
  const error = (fields: object, message: string) => {
    errors.push({ fields, message })
    // The log fails at the first error: sync-targets itself cannot handle that.
    if (errors.length === 1) throw new Error('the log is broken')
    if (errors.length === 2) throw new Error('the log is still broken')
  }
  const config = await loadConfig({ config: join(directory, 'config.yaml') }, [], {})
  const service = await startService(config, { ...silent, error })
  t.teardown(() => service.stop(0))
  await until('the end is logged', () => errors.length === 3)
  t.match(errors[2], { fields: { code: 'INTERNAL' }, message: /^sync-targets .*: the log is still broken$/ })
  t.match(service.states()[0]?.address, /^127\.0\.0\.1:\d+$/, 'the endpoint still listens')
})
