import { type Test, test } from 'tap'
import { isInsideVpc } from '../../src/address.ts'
import { type LookupOptions, lookUp } from '../../src/sync-targets/lookup.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'

const HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

async function startServer(t: Test): Promise<DnsServer> {
  const server = await startDnsServer()
  t.teardown(() => server.close())
  return server
}

function ask(servers: DnsServer[], more: Partial<LookupOptions> = {}, signal = new AbortController().signal) {
  const resolvers = servers.map(({ address }) => address)
  return lookUp({ host: HOST, family: 'ipv4', resolvers, collectAnswers: false, timeout: 300, ...more }, signal)
}

async function problem(servers: DnsServer[], more?: Partial<LookupOptions>): Promise<string> {
  const answer = await ask(servers, more)
  return 'problem' in answer ? answer.problem : ''
}

test('addresses and their time to live', async t => {
  const server = await startServer(t)
  server.answer({ addresses: ['10.0.0.2'], ttl: 7 })
  t.same(await ask([server]), { addresses: ['10.0.0.2'], ttl: 7 })
  server.answer({ addresses: ['10.0.0.2', '10.0.0.1'], cname: 'ec2-1.eu-west-1.compute.amazonaws.com', ttl: 5 })
  t.same(await ask([server]), { addresses: ['10.0.0.1', '10.0.0.2'], ttl: 5 }, 'behind a CNAME, in one order')
  t.same(server.questions, [`${HOST} A`, `${HOST} A`])
})

test('AAAA for a group of IPv6 addresses', async t => {
  const server = await startServer(t)
  server.answer({ addresses: ['10.0.0.1', '2a05:d018:0:1::0a'] })
  t.same(await ask([server], { family: 'ipv6' }), { addresses: ['2a05:d018:0:1::a'], ttl: 5 }, 'written the short way')
  t.same(server.questions, [`${HOST} AAAA`])
})

test('an answer too long for UDP comes over TCP', async t => {
  const server = await startServer(t)
  const many = Array.from({ length: 40 }, (_, index) => `10.0.1.${index + 1}`)
  server.answer({ truncated: many })
  const answer = await ask([server])
  t.same('addresses' in answer && answer.addresses.length, 40)
})

test('failed and empty answers are problems', async t => {
  const server = await startServer(t)
  server.answer('SERVFAIL')
  t.match(await problem([server]), /ESERVFAIL \(asked 127\.0\.0\.1/)
  server.answer('REFUSED')
  t.match(await problem([server]), /EREFUSED/)
  server.answer('NXDOMAIN')
  t.match(await problem([server]), /does not exist/)
  server.answer('empty')
  t.match(await problem([server]), /no A record/)
  t.match(await problem([server], { family: 'ipv6' }), /no AAAA record/)
  server.answer({ addresses: ['10.0.0.1'] })
  t.match(await problem([server], { family: 'ipv6' }), /no AAAA record/, 'IPv4 only')
  server.answer('silent')
  t.match(await problem([server]), /ETIMEOUT/)
})

test('one address outside a VPC makes the whole answer unusable', async t => {
  const server = await startServer(t)
  for (const address of ['52.18.0.1', '127.0.0.1', '169.254.169.254', '0.0.0.0', '224.0.0.1']) {
    server.answer({ addresses: ['10.0.0.1', address] })
    t.match(await problem([server]), `is at ${address}, which is not an address inside a VPC`)
  }
  const inside = [
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.1',
    '192.168.1.1',
    '100.64.0.1',
    '100.127.1.1',
    '2a05:d018::1',
    'fd00::1',
  ]
  for (const address of inside) t.ok(isInsideVpc(address), address)
  const outside = [
    '172.32.0.1',
    '100.128.0.1',
    '8.8.8.8',
    '::1',
    'fe80::1',
    'ff02::1',
    '2001:db8::1',
    '2002:a00:1::1',
    '::',
  ]
  for (const address of outside) t.notOk(isInsideVpc(address), address)
})

test('all given name servers must agree', async t => {
  const [one, two] = [await startServer(t), await startServer(t)]
  one.answer({ addresses: ['10.0.0.1'], ttl: 5 })
  two.answer({ addresses: ['10.0.0.1'], ttl: 3 })
  t.same(await ask([one, two]), { addresses: ['10.0.0.1'], ttl: 5 }, 'the longer time to live')
  two.answer({ addresses: ['10.0.0.2'] })
  t.match(await problem([one, two]), /disagree .*10\.0\.0\.1; .*10\.0\.0\.2/)
  two.answer({ addresses: ['10.0.0.1', '10.0.0.2'] })
  t.match(await problem([one, two]), /disagree/)
  two.answer('SERVFAIL')
  t.match(await problem([one, two]), /ESERVFAIL/, 'half an answer')
  two.answer({ addresses: ['8.8.8.8'] })
  t.match(await problem([one, two]), /not an address inside a VPC/)
})

test('name servers need not agree about readers', async t => {
  const [one, two] = [await startServer(t), await startServer(t)]
  one.answer({ addresses: ['10.0.0.1'] })
  two.answer({ addresses: ['10.0.0.2'] })
  t.same(await ask([one, two], { collectAnswers: true }), { addresses: ['10.0.0.1', '10.0.0.2'], ttl: 5 })
  two.answer('SERVFAIL')
  t.match(await problem([one, two], { collectAnswers: true }), /ESERVFAIL/)
})

test('a signal aborts a lookup', async t => {
  const server = await startServer(t)
  server.answer('silent')
  const stop = new AbortController()
  const pending = ask([server], { timeout: 60_000 }, stop.signal)
  stop.abort(new Error('enough'))
  await t.rejects(pending, { message: 'enough' })
})
