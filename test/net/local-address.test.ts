import { connect, createServer, type Socket } from 'node:net'
import { test } from 'tap'
import { isAddressOfThisMachine, localAddressOf } from '../../src/net/local-address.ts'

test('an address of this machine, and one of nobody', async t => {
  t.equal(await isAddressOfThisMachine('127.0.0.1'), true)
  // RFC 5737: for documentation, so that no machine has it.
  t.equal(await isAddressOfThisMachine('192.0.2.1'), false)
})

test('the local address, as the list of interfaces writes it', async t => {
  const of = (localAddress: string | undefined) => localAddressOf({ localAddress } as Socket)
  t.equal(of('::ffff:10.0.0.1'), '10.0.0.1')
  t.equal(of('fe80::1%eth0'), 'fe80::1')
  t.equal(of('2001:db8::1'), '2001:db8::1')
  t.equal(of(undefined), undefined)
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  await new Promise(resolve => socket.once('connect', resolve))
  t.equal(localAddressOf(socket), '127.0.0.1')
  socket.destroy()
  server.close()
})
