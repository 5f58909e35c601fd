import { test } from 'tap'
import { type Access, addressRefusal, createAllowList, createProxyHeaderList } from '../../src/client/access.ts'

const NETWORKS = ['10.0.0.0/8', '192.0.2.7', 'fd00::/8', '2001:db8::1']
const INSIDE = ['10.255.255.255', '192.0.2.7', '::ffff:10.1.2.3', 'fd12::1', '2001:db8::1']
const OUTSIDE = ['11.0.0.0', '192.0.2.8', '192.0.2.6', '::ffff:11.0.0.0', 'fe00::1', '2001:db8::2', 'host', '']

test('an address is allowed if it is in one of the networks', t => {
  const allows = createAllowList(NETWORKS)
  for (const address of INSIDE) t.equal(allows(address), true, address)
  for (const address of OUTSIDE) t.equal(allows(address), false, address)
  t.equal(allows(undefined), true, 'a unix socket')
  t.end()
})

test('without a list every address is allowed, with an empty one none', t => {
  const none = createAllowList([])
  for (const address of [...INSIDE, undefined]) t.equal(none(address), false, address ?? 'a unix socket')
  const allows = createAllowList(undefined)
  for (const address of [...INSIDE, ...OUTSIDE, undefined]) t.equal(allows(address), true, address ?? 'a unix socket')
  t.end()
})

test('an invalid network', t => {
  const invalid = (option: string) => ({ code: 'CONFIG_INVALID', message: new RegExp(`^${option}: `) })
  for (const network of ['10.0.0.0/99', 'unix', 'host', '']) {
    t.throws(() => createAllowList(['10.0.0.0/8', network]), invalid('allowFrom'), network)
  }
  t.throws(() => createProxyHeaderList(['unix', '10.0.0.0/99']), invalid('proxyProtocol'))
  t.end()
})

test('which connections begin with a PROXY protocol header', t => {
  const withUnix = createProxyHeaderList([...NETWORKS, 'unix'])
  const withoutUnix = createProxyHeaderList(NETWORKS)
  for (const expects of [withUnix, withoutUnix]) {
    for (const address of INSIDE) t.equal(expects(address), true, address)
    for (const address of OUTSIDE) t.equal(expects(address), false, address)
  }
  t.equal(withUnix('unix'), true)
  t.equal(withoutUnix('unix'), false)
  t.equal(createProxyHeaderList(['unix'])('10.0.0.1'), false)
  t.equal(createProxyHeaderList([])('unix'), false)
  t.equal(createProxyHeaderList([])('10.0.0.1'), false)
  t.end()
})

test('the refusal names the address; a unix socket has none', t => {
  const access = (overUnixSocket: boolean) => ({ allows: createAllowList(NETWORKS), overUnixSocket }) as Access
  t.equal(addressRefusal(access(false), '10.0.0.1'), undefined)
  t.match(addressRefusal(access(false), '11.0.0.1'), {
    code: 'CLIENT_NOT_ALLOWED',
    message: 'clients from 11.0.0.1 are not allowed',
  })
  t.equal(addressRefusal(access(true), 'a local client'), undefined)
  t.end()
})
