import { test } from 'tap'
import { type ConnectionOptions, type ConnectionWishes, connectionOf } from '../src/connection.ts'
import { connectionBlock } from '../src/connection-lines.ts'
import type { Listen } from '../src/endpoint.ts'

const of = (options: ConnectionOptions, wishes?: ConnectionWishes, listen?: Listen) =>
  connectionOf('shop', options, wishes, listen)

test('the address for clients', async t => {
  t.same(of({}).at, { host: '127.0.0.1', port: 3306 }, 'the default')
  t.same(of({ listen: '127.0.0.1:3307' }).at, { host: '127.0.0.1', port: 3307 })
  t.same(of({ listen: '[::1]:3307' }).at, { host: '::1', port: 3307 })
  t.same(of({ listen: 'unix:/run/shop.sock' }).at, { path: '/run/shop.sock' })
  for (const listen of ['0.0.0.0:3306', '[::]:3306']) {
    t.match(of({ listen }), { at: { host: '127.0.0.1', port: 3306 }, isOpen: true }, listen)
  }
  t.match(of({ listen: '10.0.0.5:3306' }), { at: { host: '10.0.0.5' }, isOpen: true })
  t.match(of({}), { isOpen: false })
  t.same(of({ listen: '0.0.0.0:3306' }, { host: 'db.example' }).at, { host: 'db.example', port: 3306 }, '--host')
})

test('the real address counts, where it is known', async t => {
  t.same(of({ listen: '127.0.0.1:0' }, {}, { host: '127.0.0.1', port: 40_001 }).at, { host: '127.0.0.1', port: 40_001 })
  t.same(of({ listen: 'systemd' }, {}, { path: '/run/shop.sock' }).at, { path: '/run/shop.sock' })
  t.throws(() => of({ listen: '127.0.0.1:0' }), {
    code: 'CONFIG_INVALID',
    message: 'endpoint shop listens on any free port; give it a port',
  })
  t.throws(() => of({ listen: 'systemd:shop' }), {
    code: 'CONFIG_INVALID',
    message: 'endpoint shop: systemd has its address: see ListenStream= of the socket unit',
  })
})

test('the user', async t => {
  t.match(of({}), { user: undefined, hasPassword: false })
  t.match(of({ user: 'app' }), { user: 'app', hasPassword: false })
  t.match(of({ user: 'app' }, { user: 'bob' }), { user: 'bob' })
  const localUsers = [{ name: 'alice' }, { name: 'bob' }]
  t.match(of({ user: 'app', localUsers }), { user: 'alice', otherUsers: ['bob'], hasPassword: true })
  t.match(of({ localUsers }, { user: 'bob' }), { user: 'bob', otherUsers: ['alice'] })
  t.throws(() => of({ localUsers }, { user: 'app' }), {
    code: 'CONFIG_INVALID',
    message: '--user: "app" is not a local user; there are alice, bob',
  })
})

test('TLS to the client: required where the proxy requires it, verified where there is an authority', async t => {
  const open = '0.0.0.0:3306'
  t.match(of({}), { tls: 'off', ca: undefined })
  t.match(of({ requireTls: true }), { tls: 'required' })
  t.match(of({ listen: open }), { tls: 'required' }, 'other machines can reach it')
  t.match(of({ listen: open, trustNetwork: true }), { tls: 'off' })
  t.match(of({ listen: open, requireTls: false }), { tls: 'off' })
  t.match(
    of({ listen: 'unix:/s', requireTls: true }, { ca: '/ca.pem' }),
    { tls: 'off', ca: undefined },
    'a unix socket',
  )
  t.match(of({}, { ca: '/ca.pem' }), { tls: 'required', ca: '/ca.pem' }, 'an authority asks for TLS')
})

test('the block of lines for people', async t => {
  const block = (...args: Parameters<typeof of>) => connectionBlock(of(...args), 'linux')
  t.equal(
    block({}),
    `shop
  host 127.0.0.1, port 3306, user your IAM database user, password none or any, SSL off
  mysql -h 127.0.0.1 -P 3306 -u DB_USER
  mysql://DB_USER@127.0.0.1:3306/
  jdbc:mysql://127.0.0.1:3306/?user=DB_USER&sslMode=DISABLED`,
  )
  t.equal(
    block({ listen: '[::]:3307', localUsers: [{ name: 'bi tool' }, { name: 'etl' }] }),
    `shop
  host 127.0.0.1, port 3307, user bi tool (or etl), password that of the local user, SSL required
  mysql -h 127.0.0.1 -P 3307 -u 'bi tool' -p --ssl-mode=REQUIRED
  mariadb -h 127.0.0.1 -P 3307 -u 'bi tool' -p --ssl --skip-ssl-verify-server-cert
  mysql://bi%20tool@127.0.0.1:3307/?ssl-mode=REQUIRED
  jdbc:mysql://127.0.0.1:3307/?user=bi%20tool&sslMode=REQUIRED
  On other machines, use the name or address of this machine instead of 127.0.0.1.`,
  )
  t.equal(
    block({ listen: 'unix:/run/shop.sock', user: 'app' }),
    `shop
  socket /run/shop.sock, user app, password none or any
  mysql -S /run/shop.sock -u app
  mysql://app@localhost/?socket=%2Frun%2Fshop.sock`,
  )
  t.match(block({}, { ca: '/ca.pem' }), 'SSL required and verified with /ca.pem')
})
