/** A compressed session cannot become another user unseen, however the COM_CHANGE_USER is packed. */
import { deflateSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { CLIENT_COMPRESS, CLIENT_LOCAL_FILES } from '../../src/protocol/capabilities.ts'
import { encodeComChangeUser, parseERR_Packet } from '../../src/protocol/packets.ts'
import { type RealServer, realServer } from '../support/mariadb.ts'
import {
  COM_PING,
  COM_QUERY,
  connectRaw,
  expectOK,
  loginPacket,
  type RawClient,
  readBytes,
  readPacket,
  startProxy,
  type TestProxy,
  until,
} from '../support/raw-client.ts'

const changeUser = packet(
  encodeComChangeUser({
    user: Buffer.from('app'),
    authResponse: Buffer.alloc(0),
    database: Buffer.alloc(0),
    charset: 45,
    authPlugin: 'mysql_native_password',
    attributes: undefined,
  }),
)
const ping = packet(Buffer.of(COM_PING))

function packet(payload: Buffer, sequence = 0): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

/** A compressed packet; `claimed` is the length before compression that its header gives. */
function frame(bytes: Buffer, sequence = 0, claimed = 0): Buffer {
  const payload = claimed === 0 ? bytes : deflateSync(bytes)
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(claimed, 4, 3)
  return Buffer.concat([header, payload])
}

const deflated = (bytes: Buffer, sequence = 0) => frame(bytes, sequence, bytes.length)

async function logInCompressed(proxy: TestProxy): Promise<RawClient> {
  const client = await connectRaw(proxy)
  client.socket.write(loginPacket(client, CLIENT_COMPRESS | CLIENT_LOCAL_FILES))
  expectOK(await readPacket(client.socket))
  return client
}

/** The packet inside a compressed packet that is short enough not to be compressed. */
async function readAnswer({ socket }: RawClient): Promise<Buffer> {
  const header = await readBytes(socket, 7)
  if (header.readUIntLE(4, 3) !== 0) throw new Error('a compressed answer')
  return (await readBytes(socket, header.readUIntLE(0, 3))).subarray(4)
}

async function currentUser(server: RealServer, threadId: number): Promise<unknown> {
  const [row] = await server.query(`SELECT USER FROM information_schema.PROCESSLIST WHERE ID = ${threadId}`)
  return (row as { USER: string } | undefined)?.USER
}

const hidden: Record<string, Buffer> = {
  'split behind three bytes': Buffer.concat([frame(changeUser.subarray(0, 3)), frame(changeUser.subarray(3), 1)]),
  'split behind the command byte': Buffer.concat([frame(changeUser.subarray(0, 5)), frame(changeUser.subarray(5), 1)]),
  'split, and compressed': Buffer.concat([deflated(changeUser.subarray(0, 4)), deflated(changeUser.subarray(4), 1)]),
  'behind a command in the same packet': deflated(Buffer.concat([ping, changeUser])),
  'before a command in the same packet': deflated(Buffer.concat([changeUser, packet(Buffer.alloc(140_000, 0x0e))])),
  'with a claim of 200 KiB': frame(changeUser, 0, 200 * 1024),
}

test('a hidden COM_CHANGE_USER ends the session', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  for (const [name, bytes] of Object.entries(hidden)) {
    await t.test(name, async t => {
      const client = await logInCompressed(proxy)
      const { threadId } = client.greeting
      client.socket.write(bytes)
      let answer = await readAnswer(client)
      if (answer[0] === 0) answer = await readAnswer(client) // that of the ping before
      t.match(parseERR_Packet(answer), { errno: /^(1235|1043)$/, message: /mysql-iam-proxy/ })
      await t.rejects(readBytes(client.socket, 1), 'the session has ended')
      await until('the server closed it too', async () => (await currentUser(server, threadId)) === undefined)
      t.match(proxy.log.at(-2)?.fields, { code: /CHANGE_USER_UNSUPPORTED|CLIENT_MALFORMED/, user: 'iam_user' })
      t.match(proxy.log.at(-1), { message: 'session ended', fields: { user: 'iam_user' } })
    })
  }
})

test('a COM_CHANGE_USER gets an answer with another sequence id, and when sent byte by byte', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  const client = await logInCompressed(proxy)
  client.socket.write(deflated(packet(changeUser.subarray(4), 7)))
  t.match(parseERR_Packet(await readAnswer(client)), { errno: 1235 })
  for (const byte of deflated(changeUser)) client.socket.write(Buffer.of(byte))
  t.match(parseERR_Packet(await readAnswer(client)), { errno: 1235 })
  client.socket.write(deflated(ping))
  expectOK(await readAnswer(client))
  t.equal(await currentUser(server, client.greeting.threadId), 'iam_user', 'and the session goes on')
  client.socket.destroy()
})

/** What the scanner relies on: servers ignore the sequence ids inside, and check those of the compressed packets. */
test('sequence ids of compressed packets', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  await t.test('a command may have any sequence id inside', async t => {
    const client = await logInCompressed(proxy)
    client.socket.write(frame(packet(Buffer.of(COM_PING), 7)))
    expectOK(await readAnswer(client))
    t.pass()
    client.socket.destroy()
  })
  await t.test('the first compressed packet of a command must have id 0', async t => {
    const client = await logInCompressed(proxy)
    client.socket.write(frame(changeUser, 5))
    await ends(t, client)
    t.equal(await currentUser(server, client.greeting.threadId), undefined)
  })
})

/** Resolves when the connection is closed. */
async function ends(t: Test, { socket }: RawClient): Promise<void> {
  await t.resolves(new Promise<void>(resolve => socket.resume().on('end', resolve).on('close', resolve)))
}

test("LOAD DATA LOCAL in a compressed session: the file's bytes are not commands", async t => {
  const server = await realServer(t)
  await server.query('CREATE OR REPLACE TABLE lab.hidden (line BLOB)')
  t.teardown(() => server.query('DROP TABLE lab.hidden'))
  const client = await logInCompressed(await startProxy(t, server))
  const sql = "LOAD DATA LOCAL INFILE 'x' INTO TABLE lab.hidden CHARACTER SET binary LINES TERMINATED BY '\\n'"
  client.socket.write(deflated(packet(Buffer.concat([Buffer.of(COM_QUERY), Buffer.from(sql)]))))
  t.equal((await readAnswer(client))[0], 0xfb, 'the server asks for the file')
  const line = Buffer.concat([Buffer.alloc(50, 0x11), Buffer.from('\n')])
  // Ids wrap at 256.
  for (let at = 0; at < 600; at++) client.socket.write(deflated(packet(line, at & 0xff), (at + 2) & 0xff))
  client.socket.write(frame(packet(Buffer.alloc(0)), 602 & 0xff))
  const answer = await readAnswer(client)
  t.equal(answer[0], 0, answer.toString('latin1'))
  const [row] = (await server.query('SELECT COUNT(*) AS count FROM lab.hidden')) as { count: number | bigint }[]
  t.equal(Number(row!.count), 600)
  client.socket.write(deflated(changeUser))
  t.match(parseERR_Packet(await readAnswer(client)), { errno: 1235 }, 'and a COM_CHANGE_USER after it is found')
  client.socket.destroy()
})
