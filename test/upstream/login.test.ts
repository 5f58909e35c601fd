import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import { createWire } from '../../src/net/wire.ts'
import { sendSecret } from '../../src/upstream/login.ts'
import { RDS_HOST, testCertificates } from '../support/scripted-upstream.ts'

/** A socket, and all that the other side gets from it, inside TLS where there is any. */
async function connectTo(t: Test, accept: (socket: Socket) => Socket): Promise<{ socket: Socket; got: () => string }> {
  let got = ''
  const server = createServer(socket => {
    accept(socket)
      .on('error', () => {})
      .on('data', chunk => {
        got += chunk
      })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  return { socket, got: () => got }
}

test('a secret is sent only over verified TLS', async t => {
  const { authority, certificate } = await testCertificates()
  const { key, certificate: cert } = certificate
  const startTls = (socket: Socket) => new TLSSocket(socket, { isServer: true, key, cert })
  const secret = Buffer.from('the token')
  const send = (socket: Socket) => sendSecret(createWire(socket, 'upstream', 1_000), secret)

  const plain = await connectTo(t, socket => socket)
  t.throws(() => send(plain.socket), { message: /outside verified TLS/ }, 'not without TLS')
  for (const [name, options] of Object.entries({
    'a stranger': { servername: RDS_HOST },
    'another name': { servername: 'database-2.abcdefghijkl.eu-west-1.rds.amazonaws.com', ca: authority.certificate },
  })) {
    const { socket, got } = await connectTo(t, startTls)
    const tls = connectTls({ socket, rejectUnauthorized: false, ...options })
    t.throws(() => send(tls), { message: /outside verified TLS/ }, `${name}: not before its certificate was seen`)
    await once(tls, 'secureConnect')
    t.throws(() => send(tls), { message: /outside verified TLS/ }, name)
    tls.end('nothing else')
    await once(tls.resume(), 'close')
    t.equal(got(), 'nothing else')
  }
  plain.socket.end('nothing else')
  await once(plain.socket.resume(), 'close')
  t.equal(plain.got(), 'nothing else')

  const { socket, got } = await connectTo(t, startTls)
  const verified = connectTls({ socket, servername: RDS_HOST, ca: authority.certificate })
  await once(verified, 'secureConnect')
  send(verified)
  verified.end()
  await once(verified.resume(), 'close')
  t.match(got(), 'the token')
})
