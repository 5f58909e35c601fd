import { test } from 'tap'
import { type Client, sendOK } from '../../src/client/handshake.ts'

const OK_PACKET = Buffer.from('00000002000000', 'hex')

/** What sendOK writes, packet by packet, to a client whose last packet had the sequence id 3. */
function sentTo(awaitsFastAuthSuccess: boolean): string[] {
  const written: string[] = []
  const socket = { cork() {}, uncork() {}, write: (bytes: Buffer) => written.push(bytes.toString('hex')) }
  sendOK({ wire: { socket, sequence: 4 }, awaitsFastAuthSuccess } as unknown as Client, OK_PACKET)
  return written
}

// https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html
test('fast_auth_success comes before the OK_Packet, for clients that wait for it', t => {
  t.same(sentTo(true).join(''), `02000004${'0103'}07000005${OK_PACKET.toString('hex')}`)
  t.same(sentTo(false).join(''), `07000004${OK_PACKET.toString('hex')}`)
  t.end()
})
