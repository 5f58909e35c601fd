import { test } from 'tap'
import { lenencInt, MalformedPacket, uint32 } from '../../src/protocol/bytes.ts'
import {
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_PLUGIN_AUTH,
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  CLIENT_PROTOCOL_41,
  CLIENT_SECURE_CONNECTION,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
} from '../../src/protocol/capabilities.ts'
import {
  encodeAuthMoreData,
  encodeAuthSwitchRequest,
  encodeComChangeUser,
  encodeERR_Packet,
  encodeHandshakeResponse41,
  encodeHandshakeV10,
  encodeOK_Packet,
  encodeSSLRequest,
  FAST_AUTH_SUCCESS,
  type HandshakeResponse41,
  isSSLRequest,
  parseAuthSwitchRequest,
  parseComChangeUser,
  parseERR_Packet,
  parseHandshakeResponse41,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { authSwitchRequests, errors, greetings, responses, sslRequests } from './golden.ts'

type Parser = (payload: Buffer) => unknown

/** A response's fields as text, for comparing. */
function readable(response: HandshakeResponse41) {
  return {
    ...response,
    capabilities: response.capabilities.toString(16),
    reserved: response.reserved.toString('hex'),
    user: response.user.toString(),
    authResponse: response.authResponse.toString('hex'),
    database: response.database?.toString(),
    attributes: attributesOf(response),
  }
}

/** The names and values of the connection attributes: each after its length, of one byte in all golden packets. */
function attributesOf({ attributes }: HandshakeResponse41): Record<string, string> | undefined {
  if (!attributes) return undefined
  const texts: string[] = []
  for (let offset = 0; offset < attributes.length; ) {
    const length = attributes[offset]!
    texts.push(attributes.toString('utf8', offset + 1, offset + 1 + length))
    offset += 1 + length
  }
  const names = texts.filter((_text, index) => index % 2 === 0)
  return Object.fromEntries(names.map((name, index) => [name, texts[index * 2 + 1] ?? '']))
}

/** A response with only what must be there. */
function minimal(capabilities: number, tail: string): Buffer {
  return Buffer.concat([
    uint32(capabilities),
    uint32(0x100_0000),
    Buffer.of(45),
    Buffer.alloc(23),
    Buffer.from('user\0'),
    Buffer.from(tail, 'latin1'),
  ])
}

test('greeting of MySQL', async t => {
  const greeting = parseHandshakeV10(greetings.mysql)
  t.hasStrict(greeting, {
    serverVersion: '9.7.4-2',
    capabilities: 0xdfff_ffff,
    charset: 255,
    status: 2,
    mariadbCapabilities: 0,
    authPlugin: 'caching_sha2_password',
  })
  t.equal(greeting.threadId, greetings.mysql.readUInt32LE(9))
  t.equal(greeting.salt.length, 20)
  t.ok(greeting.salt.subarray(0, 8).equals(greetings.mysql.subarray(13, 21)))
  t.notOk(greeting.salt.includes(0))
})

test('greeting of MariaDB', async t => {
  const greeting = parseHandshakeV10(greetings.mariadb)
  t.hasStrict(greeting, {
    serverVersion: '5.5.5-10.11.19-MariaDB-0+deb12u1-log',
    capabilities: 0x81ff_fffe,
    charset: 8,
    status: 2,
    mariadbCapabilities: 0x1d,
    authPlugin: 'mysql_native_password',
  })
  t.equal(greeting.salt.length, 20)
  t.notOk(greeting.salt.includes(0))
})

test('a greeting is written as the server wrote it', async t => {
  for (const [name, payload] of Object.entries(greetings)) {
    t.ok(encodeHandshakeV10(parseHandshakeV10(payload)).equals(payload), name)
  }
})

test('the reserved bytes of a server with CLIENT_LONG_PASSWORD are not MariaDB’s', async t => {
  const payload = Buffer.from(greetings.mysql)
  payload.writeUInt32LE(0x1d, 9 + 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 6)
  t.equal(parseHandshakeV10(payload).mariadbCapabilities, 0)
})

test('invalid greetings', async t => {
  const refused = (payload: Buffer, message: RegExp) =>
    t.throws(() => parseHandshakeV10(payload), { name: 'MalformedPacket', message })
  refused(Buffer.alloc(0), /protocol version/)
  refused(Buffer.concat([Buffer.of(9), greetings.mysql.subarray(1)]), /protocol version 9, not 10/)
  refused(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /protocol version 72/)
  refused(Buffer.from('SSH-2.0-OpenSSH_9.9\r\n'), /protocol version 83/)
  refused(Buffer.of(10, 0x35, 0x2e, 0x37), /server version/)
})

test('a greeting without the NUL at its end, or without CLIENT_PLUGIN_AUTH', async t => {
  const { authPlugin } = parseHandshakeV10(greetings.mysql.subarray(0, -1))
  t.equal(authPlugin, 'caching_sha2_password')
  const old = Buffer.from(greetings.mysql)
  old.writeUInt16LE(0xdff7, 9 + 4 + 8 + 1 + 2 + 1 + 2)
  t.equal(parseHandshakeV10(old).capabilities & CLIENT_PLUGIN_AUTH, 0)
  t.equal(parseHandshakeV10(old).authPlugin, '')
})

test('longer auth-plugin-data gives 20 bytes of salt', async t => {
  const greeting = parseHandshakeV10(greetings.mysql)
  const at = greetings.mysql.length - 'caching_sha2_password\0'.length
  const payload = Buffer.concat([greetings.mysql.subarray(0, at), Buffer.alloc(4, 'x'), greetings.mysql.subarray(at)])
  payload[9 + 4 + 8 + 1 + 2 + 1 + 2 + 2] = 25
  t.same(parseHandshakeV10(payload), greeting)
})

test('the second part of auth-plugin-data has at least 13 bytes, whatever its length field says', async t => {
  const payload = Buffer.from(greetings.mysql)
  for (const length of [0, 8, 20]) {
    payload[9 + 4 + 8 + 1 + 2 + 1 + 2 + 2] = length
    t.same(parseHandshakeV10(payload), parseHandshakeV10(greetings.mysql), `${length}`)
  }
})

test('a NUL inside the greeting’s texts is refused', async t => {
  const greeting = parseHandshakeV10(greetings.mysql)
  t.throws(() => encodeHandshakeV10({ ...greeting, serverVersion: '9\0' }), MalformedPacket)
  t.throws(() => encodeHandshakeV10({ ...greeting, authPlugin: 'a\0b' }), MalformedPacket)
  t.throws(() => encodeHandshakeV10({ ...greeting, salt: Buffer.alloc(20) }), MalformedPacket)
})

test('responses of the mysql client', async t => {
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysqlToMysql)), {
    capabilities: '19bfa28d',
    maxPacketSize: 0x100_0000,
    charset: 255,
    reserved: '00'.repeat(23),
    user: 'iam_user',
    authResponse: '00',
    database: 'orders',
    authPlugin: 'caching_sha2_password',
    attributes: { _client_name: 'libmysql', _client_version: '9.7.4', program_name: 'mysql', _os: 'Linux' },
    zstdLevel: undefined,
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysqlToMysqlNoDatabase)), {
    capabilities: '19bfa285',
    database: undefined,
    authPlugin: 'caching_sha2_password',
    attributes: { _client_name: 'libmysql' },
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysqlToMysqlZstd)), {
    capabilities: '1dbfa28d',
    database: 'orders',
    attributes: { program_name: 'mysql' },
    zstdLevel: 7,
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysqlToMariadb)), {
    capabilities: '19bfa28d',
    authResponse: '',
    database: 'orders',
    authPlugin: 'mysql_native_password',
  })
})

test('responses of the mariadb client', async t => {
  t.hasStrict(readable(parseHandshakeResponse41(responses.mariadbToMariadb)), {
    capabilities: 'bfa28c',
    maxPacketSize: 0x10_0000,
    charset: 33,
    reserved: `${'00'.repeat(19)}1d000000`,
    user: 'iam_user',
    authResponse: '',
    database: 'orders',
    authPlugin: 'mysql_native_password',
    attributes: { _client_name: 'libmariadb', _client_version: '3.3.20', _server_host: '127.0.0.1' },
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mariadbToMariadbNoDatabase)), {
    capabilities: 'bfa284',
    database: undefined,
    authPlugin: 'mysql_native_password',
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mariadbToMysql)), {
    capabilities: 'bfa28d',
    reserved: '00'.repeat(23),
    authResponse: '',
    authPlugin: 'caching_sha2_password',
  })
})

test('responses of PyMySQL and mysql2', async t => {
  t.hasStrict(readable(parseHandshakeResponse41(responses.pymysqlToMysql)), {
    capabilities: '3aa20d',
    maxPacketSize: 0xff_ffff,
    charset: 45,
    user: 'iam_user',
    database: 'orders',
    authPlugin: 'caching_sha2_password',
    attributes: { _client_name: 'pymysql', _client_version: '1.0.2' },
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.pymysqlToMariadb)), { database: undefined })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysql2ToMysql)), {
    capabilities: '18baf3cf',
    maxPacketSize: 0,
    charset: 224,
    database: 'orders',
    attributes: { _client_name: 'Node-MySQL-2', _client_version: '3.24.6' },
  })
  t.hasStrict(readable(parseHandshakeResponse41(responses.mysql2ToMariadb)), {
    capabilities: '8baf3ce',
    reserved: `${'00'.repeat(19)}08000000`,
    database: undefined,
    authPlugin: 'mysql_native_password',
    attributes: { _client_name: 'Node-MySQL-2' },
  })
})

test('a response is written as the client wrote it', async t => {
  for (const [name, payload] of Object.entries(responses)) {
    const response = parseHandshakeResponse41(payload)
    if (name !== 'mysql2ToMariadb') {
      t.ok(encodeHandshakeResponse41(response).equals(payload), name)
      continue
    }
    // It announces a database and sends an empty name; written without either, it is the same.
    const capabilities = (response.capabilities & ~CLIENT_CONNECT_WITH_DB) >>> 0
    const written = encodeHandshakeResponse41({ ...response, capabilities })
    t.equal(written.length, payload.length - 1, name)
    t.same(parseHandshakeResponse41(written), { ...response, capabilities }, name)
  }
})

test('a response with a token', async t => {
  const token = Buffer.alloc(1_500, 't')
  const response = parseHandshakeResponse41(responses.mysqlToMysql)
  const payload = encodeHandshakeResponse41({ ...response, authResponse: token, authPlugin: 'mysql_clear_password' })
  t.same(parseHandshakeResponse41(payload), { ...response, authResponse: token, authPlugin: 'mysql_clear_password' })
  const at = payload.indexOf('iam_user\0') + 'iam_user\0'.length
  t.equal(payload.toString('hex', at, at + 3), 'fcdc05', 'its length takes three bytes')
})

test('the three encodings of the auth response', async t => {
  const answer = (flags: number, tail: string) =>
    parseHandshakeResponse41(minimal(CLIENT_PROTOCOL_41 | flags, tail)).authResponse.toString('latin1')
  t.equal(answer(CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA, '\x03abc'), 'abc')
  t.equal(answer(CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CLIENT_SECURE_CONNECTION, '\xfc\x03\x00abc'), 'abc')
  t.equal(answer(CLIENT_SECURE_CONNECTION, '\x03abc'), 'abc')
  t.equal(answer(CLIENT_SECURE_CONNECTION, `\xff${'x'.repeat(255)}`), 'x'.repeat(255), 'one byte of length')
  t.equal(answer(0, 'abc\0'), 'abc')
  t.throws(() => answer(CLIENT_SECURE_CONNECTION, '\xffabc'), MalformedPacket)
  t.throws(() => answer(0, 'abc'), MalformedPacket)
})

test('announced fields that are missing', async t => {
  const all =
    CLIENT_PROTOCOL_41 |
    CLIENT_SECURE_CONNECTION |
    CLIENT_CONNECT_WITH_DB |
    CLIENT_PLUGIN_AUTH |
    CLIENT_CONNECT_ATTRS |
    CLIENT_ZSTD_COMPRESSION_ALGORITHM
  const fields = (tail: string) => {
    const { database, authPlugin, attributes, zstdLevel } = parseHandshakeResponse41(minimal(all, tail))
    return [database?.toString(), authPlugin, attributes?.toString('hex'), zstdLevel]
  }
  t.same(fields('\0'), [undefined, undefined, undefined, undefined])
  t.same(fields('\0orders\0'), ['orders', undefined, undefined, undefined])
  t.same(fields('\0orders'), ['orders', undefined, undefined, undefined], 'without the last NUL')
  t.same(fields('\0\0plugin\0'), [undefined, 'plugin', undefined, undefined])
  t.same(fields('\0orders\0plugin'), ['orders', 'plugin', undefined, undefined], 'without the last NUL')
  t.same(fields('\0orders\0plugin\0\0'), ['orders', 'plugin', '', undefined])
  t.same(fields('\0orders\0plugin\0\x04\x01a\x01b\x03'), ['orders', 'plugin', '01610162', 3])
  t.throws(() => fields('\0orders\0plugin\0\x04\x01a\x01'), MalformedPacket)
})

test('fields that are not announced are not read', async t => {
  const payload = minimal(CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION, '\0orders\0plugin\0')
  const { database, authPlugin, attributes, zstdLevel } = parseHandshakeResponse41(payload)
  t.same([database, authPlugin, attributes, zstdLevel], [undefined, undefined, undefined, undefined])
})

test('names are kept byte for byte', async t => {
  const response = parseHandshakeResponse41(responses.mysqlToMysql)
  const user = Buffer.from('e9ff80fe', 'hex')
  const database = Buffer.from('c3a4fffe', 'hex')
  const again = parseHandshakeResponse41(encodeHandshakeResponse41({ ...response, user, database }))
  t.ok(again.user.equals(user))
  t.ok(again.database?.equals(database))
})

test('a NUL inside a name is refused', async t => {
  const response = parseHandshakeResponse41(responses.mysqlToMysql)
  const refused = (change: Partial<HandshakeResponse41>) =>
    t.throws(() => encodeHandshakeResponse41({ ...response, ...change }), MalformedPacket)
  refused({ user: Buffer.from('admin\0iam_user') })
  refused({ database: Buffer.from('a\0b') })
  refused({ authPlugin: 'mysql_clear_password\0' })
})

test('connection attributes of 64 KiB', async t => {
  const attributes = Buffer.alloc(65_536, 'a')
  const response = parseHandshakeResponse41(responses.mysqlToMysql)
  const payload = encodeHandshakeResponse41({ ...response, attributes })
  t.ok(payload.includes(lenencInt(65_536)))
  t.ok(parseHandshakeResponse41(payload).attributes?.equals(attributes))
})

test('the protocol before 4.1 is refused', async t => {
  const payload = minimal(CLIENT_LONG_PASSWORD | CLIENT_SECURE_CONNECTION, '\0')
  t.throws(() => parseHandshakeResponse41(payload), { name: 'MalformedPacket', message: /4\.1/ })
})

test('SSLRequest', async t => {
  for (const [name, payload] of Object.entries(sslRequests)) {
    t.ok(isSSLRequest(payload), name)
    const request = {
      capabilities: payload.readUInt32LE(0),
      maxPacketSize: payload.readUInt32LE(4),
      charset: payload[8]!,
      reserved: payload.subarray(9),
    }
    t.ok(encodeSSLRequest(request).equals(payload), name)
  }
  t.equal(encodeSSLRequest(parseHandshakeResponse41(responses.mariadbToMariadb)).length, 32)
  t.ok(isSSLRequest(Buffer.from('0dae0000', 'hex')), '4 bytes, of old clients')
})

test('invalid SSLRequests', async t => {
  for (const [name, payload] of Object.entries(responses)) t.notOk(isSSLRequest(payload), name)
  const clear = Buffer.from(sslRequests.mysql)
  clear.writeUInt32LE((clear.readUInt32LE() & ~CLIENT_SSL) >>> 0)
  t.notOk(isSSLRequest(clear), 'CLIENT_SSL clear')
  t.notOk(isSSLRequest(Buffer.alloc(0)))
  t.notOk(isSSLRequest(Buffer.alloc(1, 0xff)))
  t.notOk(isSSLRequest(sslRequests.mysql.subarray(0, 31)))
  t.notOk(isSSLRequest(Buffer.concat([sslRequests.mysql, Buffer.of(0)])))
})

test('AuthSwitchRequest', async t => {
  const expected = { mysql: 'sha256_password', mariadb: 'mysql_native_password' }
  for (const name of ['mysql', 'mariadb'] as const) {
    const payload = authSwitchRequests[name]
    const { authPlugin, data } = parseAuthSwitchRequest(payload)
    t.equal(authPlugin, expected[name])
    t.equal(data.length, 21, 'the salt and its NUL')
    t.equal(data[20], 0)
    t.ok(encodeAuthSwitchRequest({ authPlugin, data: data.subarray(0, 20) }).equals(payload), name)
  }
  t.same(parseAuthSwitchRequest(Buffer.from('\xfemysql_clear_password\0', 'latin1')), {
    authPlugin: 'mysql_clear_password',
    data: Buffer.alloc(0),
  })
  t.equal(parseAuthSwitchRequest(Buffer.from('\xfemysql_clear_password', 'latin1')).authPlugin, 'mysql_clear_password')
  t.equal(parseAuthSwitchRequest(Buffer.of(0xfe)).authPlugin, 'mysql_old_password')
  t.throws(() => parseAuthSwitchRequest(Buffer.of(0)), MalformedPacket)
  t.throws(() => parseAuthSwitchRequest(Buffer.alloc(0)), MalformedPacket)
  t.throws(() => encodeAuthSwitchRequest({ authPlugin: 'a\0', data: Buffer.alloc(0) }), MalformedPacket)
  t.throws(() => encodeAuthSwitchRequest({ authPlugin: 'a', data: Buffer.alloc(20) }), MalformedPacket)
})

/** The flags of the golden COM_CHANGE_USER's session. */
const SESSION = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | CLIENT_CONNECT_ATTRS

const changeUser = Buffer.from(
  '\x11iam_user\0\x03abcorders\0\xff\x00caching_sha2_password\0\x09\x03_os\x04BeOS',
  'latin1',
)

test('COM_CHANGE_USER', async t => {
  const command = parseComChangeUser(changeUser, SESSION)
  t.same(command, {
    user: Buffer.from('iam_user'),
    authResponse: Buffer.from('abc'),
    database: Buffer.from('orders'),
    charset: 255,
    authPlugin: 'caching_sha2_password',
    attributes: Buffer.from('\x03_os\x04BeOS'),
  })
  t.ok(encodeComChangeUser(command).equals(changeUser))

  const old = Buffer.from('\x11user\0abc\0\0', 'latin1')
  t.hasStrict(parseComChangeUser(old, CLIENT_PROTOCOL_41), { charset: undefined, authPlugin: undefined })
  t.equal(parseComChangeUser(old, CLIENT_PROTOCOL_41).authResponse.toString(), 'abc', 'ends with a NUL')
  t.equal(parseComChangeUser(changeUser, CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION).authPlugin, undefined)
  t.throws(() => parseComChangeUser(Buffer.of(3), SESSION), MalformedPacket)
  t.throws(() => encodeComChangeUser({ ...command, user: Buffer.from('a\0b') }), MalformedPacket)
  t.throws(() => encodeComChangeUser({ ...command, database: Buffer.from('a\0b') }), MalformedPacket)
})

test('an auth response of COM_CHANGE_USER has a one-byte length: a longer one is never truncated', async t => {
  const command = parseComChangeUser(changeUser, SESSION)
  const longest = { ...command, authResponse: Buffer.alloc(255, 'x') }
  t.same(parseComChangeUser(encodeComChangeUser(longest), SESSION), longest)
  const tooLong = { ...command, authResponse: Buffer.alloc(256, 'x') }
  t.throws(() => encodeComChangeUser(tooLong))
})

test('AuthMoreData', async t => {
  t.equal(encodeAuthMoreData(FAST_AUTH_SUCCESS).toString('hex'), '0103')
})

test('ERR_Packet', async t => {
  const error = parseERR_Packet(errors.accessDenied)
  t.same(error, {
    errno: 1045,
    sqlState: '28000',
    message: "Access denied for user 'nobody'@'localhost' (using password: NO)",
  })
  t.ok(encodeERR_Packet(error).equals(errors.accessDenied))
})

test('an ERR_Packet instead of a greeting has no SQLSTATE', async t => {
  const message = "Host '10.0.0.1' is blocked because of many connection errors"
  const payload = Buffer.concat([Buffer.from('ff6904', 'hex'), Buffer.from(message)])
  const error = parseERR_Packet(payload)
  t.same(error, { errno: 1129, sqlState: undefined, message })
  t.ok(encodeERR_Packet(error).equals(payload))
})

test('ERR_Packets at their limits', async t => {
  const strange = Buffer.from('ff150423ff30303041', 'hex')
  t.equal(
    encodeERR_Packet(parseERR_Packet(strange)).toString('hex'),
    strange.toString('hex'),
    'any five bytes are a state',
  )
  t.same(parseERR_Packet(Buffer.from('ff1504', 'hex')), { errno: 1045, sqlState: undefined, message: '' })
  t.same(parseERR_Packet(Buffer.from('\xff\x15\x04#2800', 'latin1')), {
    errno: 1045,
    sqlState: undefined,
    message: '#2800',
  })
  t.same(parseERR_Packet(Buffer.from('\xff\x15\x04#28000', 'latin1')), { errno: 1045, sqlState: '28000', message: '' })
  const utf8 = { errno: 1049, sqlState: '42000', message: "Unknown database 'größe'" }
  t.same(parseERR_Packet(encodeERR_Packet(utf8)), utf8)
  t.throws(() => parseERR_Packet(Buffer.of(0xff, 0x15)), MalformedPacket)
  t.throws(() => parseERR_Packet(Buffer.of(0)), MalformedPacket)
})

test('OK_Packet', async t => {
  const ok = { affectedRows: 0, lastInsertId: 0, status: 2, warnings: 0 }
  t.equal(encodeOK_Packet(ok).toString('hex'), '00000002000000')
  t.equal(
    encodeOK_Packet({ affectedRows: 300, lastInsertId: 70_000, status: 0x4002, warnings: 1 }).toString('hex'),
    '00' + 'fc2c01' + 'fd701101' + '0240' + '0100',
  )
})

const parsers: Record<string, [Parser, Buffer[]]> = {
  HandshakeV10: [parseHandshakeV10, Object.values(greetings)],
  HandshakeResponse41: [parseHandshakeResponse41, Object.values(responses)],
  AuthSwitchRequest: [parseAuthSwitchRequest, Object.values(authSwitchRequests)],
  ERR_Packet: [parseERR_Packet, Object.values(errors)],
  COM_CHANGE_USER: [payload => parseComChangeUser(payload, SESSION), [changeUser]],
}

/** What `parse` throws; undefined where it does not. */
function thrownBy(parse: Parser, payload: Buffer): unknown {
  try {
    parse(payload)
    return undefined
  } catch (error) {
    return error ?? new Error('nothing was thrown')
  }
}

test('every truncation of a packet is malformed, or lacks only an optional field', async t => {
  for (const [name, [parse, payloads]] of Object.entries(parsers)) {
    for (const payload of payloads) {
      const parsed: number[] = []
      for (let length = 0; length < payload.length; length++) {
        const thrown = thrownBy(parse, payload.subarray(0, length))
        if (thrown === undefined) parsed.push(length)
        else if (!(thrown instanceof MalformedPacket)) t.fail(`${name} cut to ${length}: ${thrown}`)
      }
      t.same(parsed, optionalFrom(name, payload), `${name} of ${payload.length} bytes`)
    }
  }
})

/** The lengths that a golden packet may have. */
function optionalFrom(name: string, payload: Buffer): number[] {
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_item, index) => from + index)
  if (name === 'ERR_Packet') return range(3, payload.length)
  if (name === 'COM_CHANGE_USER') {
    const afterAnswer = payload.indexOf('abc') + 3
    const attributes = payload.indexOf(9)
    return range(afterAnswer, attributes + 1)
  }
  if (name === 'AuthSwitchRequest') return range(1, payload.length)
  if (name === 'HandshakeV10') {
    const plugin = payload.lastIndexOf(0, -2) + 1
    return range(plugin, payload.length)
  }
  const response = parseHandshakeResponse41(payload)
  const user = payload.indexOf(0, 32) + 1
  const afterAnswer = user + 1 + response.authResponse.length
  const { attributes, zstdLevel } = response
  const withZstd = zstdLevel === undefined ? 0 : 1
  const attributesFrom = payload.length - withZstd - attributes!.length - 1
  // Up to where the attributes begin, and where they end.
  return [...range(afterAnswer, attributesFrom + 1), ...(withZstd ? [payload.length - 1] : [])]
}

/** Numbers from 0 up to `limit`, the same ones in every run (mulberry32). */
function createRandom(seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) % limit
  }
}

/** `payload` with up to 8 bytes changed, taken out or put in; lengths and NULs more often than chance has it. */
function mutate(payload: Buffer, random: (limit: number) => number): Buffer {
  const bytes = [...payload]
  const favourites = [0, 1, 0x0a, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]
  for (let change = random(8) + 1; change > 0; change--) {
    const value = random(2) === 0 ? favourites[random(favourites.length)]! : random(256)
    const at = random(bytes.length + 1)
    const kind = random(8)
    if (kind === 0) bytes.splice(at, 1)
    else if (kind === 1) bytes.splice(at, 0, value)
    else if (kind === 2) bytes.splice(at, random(16))
    else if (at < bytes.length) bytes[at] = value
  }
  return Buffer.from(bytes)
}

test('random changes throw only MalformedPacket, and what parses encodes to the same bytes', async t => {
  const random = createRandom(0x3306)
  const encoders: Record<string, (parsed: never) => Buffer> = {
    HandshakeV10: encodeHandshakeV10,
    HandshakeResponse41: encodeHandshakeResponse41,
    ERR_Packet: encodeERR_Packet,
    COM_CHANGE_USER: encodeComChangeUser,
  }
  for (const [name, [parse, payloads]] of Object.entries(parsers)) {
    let good = 0
    let refused = 0
    for (let round = 0; round < 4_000; round++) {
      const payload = mutate(payloads[round % payloads.length]!, random)
      const thrown = thrownBy(parse, payload)
      if (thrown === undefined) good += 1
      else if (thrown instanceof MalformedPacket) refused += 1
      else t.fail(`${name} ${payload.toString('hex')}: ${thrown}`)
      const encode = encoders[name]
      if (thrown !== undefined || !encode) continue
      const unwritable = thrownBy(() => encode(parse(payload) as never), payload)
      if (unwritable !== undefined && !(unwritable instanceof MalformedPacket)) {
        t.fail(`${name} ${payload.toString('hex')} not written: ${unwritable}`)
      }
    }
    t.equal(good + refused, 4_000, name)
    t.ok(good > 100 && refused > 100, `${name}: both ways were taken`)
  }
})
