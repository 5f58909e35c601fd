import { test } from 'tap'
import { askNameServers, timeToLive } from '../../src/upstream/time-to-live.ts'
import { startDnsServer } from '../support/dns-server.ts'

const entries = (...addresses: string[]) =>
  addresses.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))

test('the shortest time to live of the same addresses, in whatever order', async t => {
  const dns = await startDnsServer()
  t.teardown(() => dns.close())
  const ask = (...addresses: string[]) => askNameServers('nlb.test', entries(...addresses), [dns.address])

  dns.answer({ addresses: ['10.0.0.1', '10.0.0.2'], ttl: 60 })
  t.equal(await ask('10.0.0.2', '10.0.0.1'), 60)
  t.same(dns.questions, ['nlb.test A'], 'it asks only for the kind of address that the system found')

  t.equal(await ask('10.0.0.1'), undefined, 'more addresses')
  t.equal(await ask('10.0.0.1', '10.0.0.2', '10.0.0.3'), undefined, 'fewer addresses')
  t.equal(await ask('10.0.0.1', '10.0.0.3'), undefined, 'other addresses')

  dns.answer({ addresses: ['10.0.0.1'], ttl: 5, cname: 'instance.test' })
  t.equal(await ask('10.0.0.1'), 5, 'a CNAME')
})

test('both families', async t => {
  const dns = await startDnsServer()
  t.teardown(() => dns.close())
  const ask = (...addresses: string[]) => askNameServers('nlb.test', entries(...addresses), [dns.address])
  dns.answer({ addresses: ['10.0.0.1', 'fd00:0:0:0:0:0:0:1'], ttl: 30 })
  t.equal(await ask('fd00::1', '10.0.0.1'), 30)
  t.equal(await ask('fd00::1'), 30, 'the system gave only one family')
})

test('name servers that fail or are silent', async t => {
  const dns = await startDnsServer()
  t.teardown(() => dns.close())
  for (const answer of ['SERVFAIL', 'NXDOMAIN', 'empty', 'silent'] as const) {
    dns.answer(answer)
    t.equal(await askNameServers('nlb.test', entries('10.0.0.1'), [dns.address]), undefined, answer)
  }
  t.equal(await askNameServers('nlb.test', entries('10.0.0.1'), ['no address']), undefined)
})

test('names that are not of DNS alone are not asked for', async t => {
  const dns = await startDnsServer()
  t.teardown(() => dns.close())
  dns.answer({ addresses: ['127.0.0.1'] })
  for (const host of ['localhost', 'db', 'db.local', 'DB.Local.']) {
    t.equal(await askNameServers(host, entries('127.0.0.1'), [dns.address]), undefined)
  }
  t.same(dns.questions, [])
  t.equal(await timeToLive('localhost', entries('127.0.0.1')), undefined)
})
