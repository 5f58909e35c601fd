import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { endianness } from 'node:os'
import { test } from 'tap'
import { parseTcpTable, readTcpTable, tcpKey } from '../../src/net/tcp-table.ts'

const HEADER =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n'
/** As Linux 6.1 prints them. */
const IDLE =
  '   0: 0100007F:8235 0100007F:0CEA 01 00000000:00000000 00:00000000 00000000     0        0 96 1 0 20 4 30 10 -1\n'
const RESENT =
  '   1: 0100007F:8236 0100007F:0CEA 01 0000002F:00000000 01:00000A3C 00000007     0        0 97 2 0 120 4 30 1 7\n'
const CLOSED_WINDOW =
  '   2: 0100007F:8237 0100007F:0CEA 01 000FA000:00000000 04:000001F4 00000000     0        5 98 2 0 20 4 30 1 7\n'
const JUST_PROBED =
  '   3: 0100007F:8238 0100007F:0CEA 01 000FA000:00000000 04:000001F4 00000000     0        1 99 2 0 20 4 30 1 7\n'
const KEEPALIVE =
  '   4: 0100007F:8239 0100007F:0CEA 01 00000000:00000000 02:000001F4 00000000     0        0 99 2 0 20 4 30 1 7\n'
const CONNECTING =
  '   5: 0100007F:823A 0100007F:0CEA 02 00000001:00000000 01:000001F4 00000003     0        0 99 2 0 20 4 30 1 7\n'

test('rows of the table', async t => {
  const rows = parseTcpTable(HEADER + IDLE + RESENT + CLOSED_WINDOW + JUST_PROBED + KEEPALIVE + CONNECTING)
  t.strictSame(rows, [
    ['0100007F:8235 0100007F:0CEA', { unacknowledged: 0, unanswered: 0 }],
    ['0100007F:8236 0100007F:0CEA', { unacknowledged: 47, unanswered: 7 }],
    ['0100007F:8237 0100007F:0CEA', { unacknowledged: 1_024_000, unanswered: 4 }],
    ['0100007F:8238 0100007F:0CEA', { unacknowledged: 1_024_000, unanswered: 0 }],
    ['0100007F:8239 0100007F:0CEA', { unacknowledged: 0, unanswered: 0 }],
  ])
  t.strictSame(parseTcpTable(''), [])
})

test('keys of IPv4 and IPv6 addresses', { skip: endianness() !== 'LE' }, async t => {
  const key = (localAddress: string, remoteAddress: string) =>
    tcpKey({ localAddress, remoteAddress, localPort: 0x8235, remotePort: 3306 } as Socket)
  t.equal(key('127.0.0.1', '10.1.2.3'), '0100007F:8235 0302010A:0CEA')
  t.equal(
    key('::1', '2001:db8::ff:1'),
    '00000000000000000000000001000000:8235 B80D01200000000000000000' + '0100FF00:0CEA',
  )
  t.equal(
    key('::ffff:127.0.0.1', 'fe80::1%eth0'),
    '0000000000000000FFFF00000100007F:8235 000080FE000000000000000001000000:0CEA',
  )
  t.equal(tcpKey({} as Socket), undefined, 'a unix socket')
})

for (const host of ['127.0.0.1', '::1']) {
  test(`a real connection over ${host}`, { skip: process.platform !== 'linux' }, async t => {
    const server = createServer().listen(0, host)
    await once(server, 'listening')
    const socket = connect((server.address() as AddressInfo).port, host)
    const [[accepted]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [
      [Socket],
      unknown,
    ]
    t.teardown(() => {
      socket.destroy()
      accepted.destroy()
      server.close()
    })
    const table = await readTcpTable()
    for (const end of [socket, accepted]) {
      t.strictSame(table?.get(tcpKey(end)!), { unacknowledged: 0, unanswered: 0 })
    }
    accepted.pause()
    while (socket.writableLength < 1 << 20) socket.write(Buffer.alloc(1 << 20))
    t.ok((await readTcpTable())!.get(tcpKey(socket)!)!.unacknowledged > 0, 'bytes that the peer does not read')
  })
}
