/** Compressed packets that break the protocol: the log and the client get a code that names the side. */
import { deflateSync } from 'node:zlib'
import type * as mysql from 'mysql2/promise'
import { test } from 'tap'
import { CLIENT_COMPRESS } from '../../src/protocol/capabilities.ts'
import { parseHandshakeV10 } from '../../src/protocol/packets.ts'
import { connectMysql, startProxy, until } from '../support/proxy.ts'
import {
  authSwitch,
  greeting,
  OK,
  packet,
  type Script,
  startScriptedUpstream,
  untilResponse,
} from '../support/scripted-upstream.ts'

const { capabilities } = parseHandshakeV10(greeting())
const COMMAND = 'SELECT 1'

/** A frame whose header claims `claimed` bytes. */
function frame(bytes: Buffer, claimed: number, sequence: number): Buffer {
  const payload = deflateSync(bytes)
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(claimed, 4, 3)
  return Buffer.concat([header, payload])
}

/** A login with compression, and then `answer` to the first command. */
const answerWith =
  (answer: Buffer): Script =>
  async peer => {
    await untilResponse(peer, { capabilities: capabilities | CLIENT_COMPRESS })
    peer.send(authSwitch('mysql_clear_password'))
    await peer.expect()
    peer.send(OK)
    await peer.expectRaw(7 + 4 + 1 + COMMAND.length)
    peer.sendRaw(answer)
  }

const columns = packet(Buffer.of(1), 1)

const CASES: [name: string, answer: Buffer, expected: { errno?: number; code?: string; message: RegExp }][] = [
  [
    'instead of an answer',
    frame(columns, 99, 1),
    { errno: 1158, message: /invalid compressed packet: .*Reconnect\. .* turn the option compress off/ },
  ],
  [
    'in the middle of an answer',
    Buffer.concat([frame(columns, columns.length, 1), frame(columns, 99, 2)]),
    { code: 'PROTOCOL_CONNECTION_LOST', message: /closed/ },
  ],
]

for (const [name, answer, expected] of CASES) {
  test(`the server breaks the compressed protocol ${name}`, async t => {
    const upstream = await startScriptedUpstream(t, [answerWith(answer)])
    const { address, proxy, log } = await startProxy(t, { connect: upstream.address, compress: 'zlib' })
    const connection = await connectMysql(address)
    connection.on('error', () => {})
    await t.rejects(connection.query(COMMAND), expected)
    t.ok(await until(() => log.some(({ message }) => message === 'session ended')))
    const { fields } = log.find(({ message }) => message === 'session ended')!
    t.equal(fields['endedBy'], 'UPSTREAM_MALFORMED')
    const errors = log.filter(({ level }) => level === 'error')
    t.match(errors, [
      { message: /^the server sent an invalid compressed packet: /, fields: { code: 'UPSTREAM_MALFORMED' } },
    ])
    t.equal(errors.length, 1)
    t.match(proxy.status().recentErrors, [{ code: 'UPSTREAM_MALFORMED' }])
    connection.destroy()
  })
}

test('the client breaks the compressed protocol', async t => {
  const upstream = await startScriptedUpstream(t, [answerWith(Buffer.alloc(0))])
  const { address, proxy, log } = await startProxy(t, { connect: upstream.address })
  const connection = await connectMysql(address, { compress: true })
  const ended = new Promise<mysql.QueryError>(resolve => connection.on('error', resolve))
  const { stream } = (connection as unknown as { connection: { stream: NodeJS.WritableStream } }).connection
  stream.write(frame(packet(Buffer.from(`\x03${COMMAND}`), 0), 99, 0))
  t.match(await ended, { message: /mysql-iam-proxy: .*turn compression off in it/ })
  t.ok(await until(() => log.some(({ message }) => message === 'session ended')))
  t.match(
    log.find(({ message }) => message === 'session ended'),
    { fields: { endedBy: 'CLIENT_MALFORMED' } },
  )
  t.match(proxy.status().recentErrors, [{ code: 'CLIENT_MALFORMED' }])
  connection.destroy()
})
