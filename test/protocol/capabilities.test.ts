import { test } from 'tap'
import * as capabilities from '../../src/protocol/capabilities.ts'
import { has, isCompressed, offeredToClient, sentUpstream } from '../../src/protocol/capabilities.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { parseHandshakeResponse41, parseHandshakeV10 } from '../../src/protocol/packets.ts'
import { greetings, responses } from './golden.ts'

const {
  CLIENT_COMPRESS,
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_DEPRECATE_EOF,
  CLIENT_LONG_PASSWORD,
  CLIENT_PLUGIN_AUTH,
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  CLIENT_PROTOCOL_41,
  CLIENT_SECURE_CONNECTION,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
} = capabilities

/** What this proxy speaks in the handshake, on each leg by itself. */
const HANDSHAKE =
  CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA

/** Flags of the handshake, each leg's own: never taken over from the other leg. */
const OF_ONE_LEG = HANDSHAKE | CLIENT_SSL | CLIENT_CONNECT_WITH_DB | CLIENT_CONNECT_ATTRS

const MULTI_FACTOR_AUTHENTICATION = 1 << 28
const CAPABILITY_EXTENSION = 1 << 29

const ALL = 0xffff_ffff
const none = { database: false, attributes: false }
const both = { database: true, attributes: true }

const allFlags = Object.entries(capabilities).filter(
  (entry): entry is [string, number] => entry[0].startsWith('CLIENT_') && typeof entry[1] === 'number',
)
/** Without zstd where Node.js cannot decompress it. */
const flags = allFlags.filter(([, flag]) => hasZstd || flag !== CLIENT_ZSTD_COMPRESSION_ALGORITHM)
const known = flags.reduce((all, [, flag]) => all | flag, 0) >>> 0

/** By their bit: 0 to 27, 30 and 31. */
const NAMES = [
  'CLIENT_LONG_PASSWORD',
  'CLIENT_FOUND_ROWS',
  'CLIENT_LONG_FLAG',
  'CLIENT_CONNECT_WITH_DB',
  'CLIENT_NO_SCHEMA',
  'CLIENT_COMPRESS',
  'CLIENT_ODBC',
  'CLIENT_LOCAL_FILES',
  'CLIENT_IGNORE_SPACE',
  'CLIENT_PROTOCOL_41',
  'CLIENT_INTERACTIVE',
  'CLIENT_SSL',
  'CLIENT_IGNORE_SIGPIPE',
  'CLIENT_TRANSACTIONS',
  'CLIENT_RESERVED',
  'CLIENT_SECURE_CONNECTION',
  'CLIENT_MULTI_STATEMENTS',
  'CLIENT_MULTI_RESULTS',
  'CLIENT_PS_MULTI_RESULTS',
  'CLIENT_PLUGIN_AUTH',
  'CLIENT_CONNECT_ATTRS',
  'CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA',
  'CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS',
  'CLIENT_SESSION_TRACK',
  'CLIENT_DEPRECATE_EOF',
  'CLIENT_OPTIONAL_RESULTSET_METADATA',
  'CLIENT_ZSTD_COMPRESSION_ALGORITHM',
  'CLIENT_QUERY_ATTRIBUTES',
  'CLIENT_SSL_VERIFY_SERVER_CERT',
  'CLIENT_REMEMBER_OPTIONS',
]

/** As unsigned hexadecimal, for test messages. */
function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}

test('each flag is one bit, and no two share one', async t => {
  t.equal(allFlags.length, 30)
  t.equal(new Set(allFlags.map(([, flag]) => flag >>> 0)).size, 30)
  for (const [name, flag] of allFlags) t.equal(hex(flag & (flag - 1)), hex(0), name)
})

test('the flags have the numbers of the protocol', async t => {
  const byPosition = [...Array(28).keys(), 30, 31].map(bit => allFlags.find(([, flag]) => flag >>> 0 === 2 ** bit)?.[0])
  t.same(byPosition, NAMES)
})

test('has', async t => {
  t.ok(has(ALL, 1 << 31), 'the top bit of an unsigned number')
  t.notOk(has(0x7fff_ffff, 1 << 31))
  t.ok(has(CLIENT_SSL | CLIENT_COMPRESS, CLIENT_SSL | CLIENT_COMPRESS))
  t.notOk(has(CLIENT_SSL, CLIENT_SSL | CLIENT_COMPRESS), 'all of several flags')
})

test('a server with all 32 bits set offers only the known ones', async t => {
  t.equal(hex(offeredToClient(ALL, true)), hex(known))
  t.equal(hex(offeredToClient(ALL, false)), hex(known & ~CLIENT_SSL))
  for (const unknown of [MULTI_FACTOR_AUTHENTICATION, CAPABILITY_EXTENSION]) {
    t.notOk(has(offeredToClient(ALL, true), unknown), hex(unknown))
    t.notOk(has(sentUpstream(ALL, ALL, both), unknown), hex(unknown))
  }
})

test('results are unsigned', async t => {
  t.ok(offeredToClient(ALL, true) > 0)
  t.ok(sentUpstream(ALL, ALL, both) > 0)
})

test('a bit that the server lacks is neither offered nor sent', async t => {
  for (const [name, flag] of flags) {
    if (OF_ONE_LEG & flag) continue
    t.notOk(has(offeredToClient(ALL & ~flag, true), flag), `${name} offered`)
    if (flag === CLIENT_LONG_PASSWORD) continue
    t.notOk(has(sentUpstream(ALL, ALL & ~flag, both), flag), `${name} sent`)
  }
  t.equal(hex(offeredToClient(0, false) & ~OF_ONE_LEG), hex(0))
  t.equal(hex(sentUpstream(ALL, 0, both) & ~OF_ONE_LEG), hex(CLIENT_LONG_PASSWORD))
})

test('a bit is sent only if the client has it', async t => {
  for (const [name, flag] of flags) {
    if (OF_ONE_LEG & flag) continue
    t.notOk(has(sentUpstream(ALL & ~flag, ALL, both), flag), `without ${name}`)
    t.ok(has(sentUpstream(flag, ALL, none), flag), `with ${name}`)
    t.ok(has(offeredToClient(flag, false), flag), `offered ${name}`)
  }
})

test('CLIENT_LONG_PASSWORD of the client goes upstream as it is', async t => {
  for (const server of [0, CLIENT_LONG_PASSWORD, ALL, ALL & ~CLIENT_LONG_PASSWORD]) {
    t.ok(has(sentUpstream(CLIENT_LONG_PASSWORD, server, none), CLIENT_LONG_PASSWORD), `set, to ${hex(server)}`)
    t.notOk(has(sentUpstream(0, server, none), CLIENT_LONG_PASSWORD), `clear, to ${hex(server)}`)
  }
})

test('CLIENT_SSL: offered only with local TLS, always sent upstream', async t => {
  for (const server of [0, CLIENT_SSL, ALL]) {
    t.notOk(has(offeredToClient(server, false), CLIENT_SSL))
    t.ok(has(offeredToClient(server, true), CLIENT_SSL))
    t.ok(has(sentUpstream(0, server, none), CLIENT_SSL))
  }
})

test('handshake flags are separate for each connection', async t => {
  t.ok(has(offeredToClient(0, false), HANDSHAKE | CLIENT_CONNECT_WITH_DB), 'offered whatever the server has')
  t.ok(has(sentUpstream(0, ALL, none), HANDSHAKE), 'sent whatever the client has')
})

test('compression: zlib always, zstd only where Node.js can decompress it', async t => {
  t.ok(isCompressed(CLIENT_COMPRESS))
  t.equal(isCompressed(CLIENT_ZSTD_COMPRESSION_ALGORITHM), hasZstd)
  t.notOk(isCompressed(ALL & ~(CLIENT_COMPRESS | CLIENT_ZSTD_COMPRESSION_ALGORITHM)))
  t.equal(has(offeredToClient(ALL, false), CLIENT_ZSTD_COMPRESSION_ALGORITHM), hasZstd)
  t.equal(has(sentUpstream(ALL, ALL, none), CLIENT_ZSTD_COMPRESSION_ALGORITHM), hasZstd)
})

test('a field is announced exactly if it is present', async t => {
  for (const client of [0, ALL]) {
    for (const database of [false, true]) {
      for (const attributes of [false, true]) {
        const sent = sentUpstream(client, ALL, { database, attributes })
        t.equal(has(sent, CLIENT_CONNECT_WITH_DB), database)
        t.equal(has(sent, CLIENT_CONNECT_ATTRS), attributes)
      }
    }
  }
  t.ok(has(offeredToClient(CLIENT_CONNECT_ATTRS, false), CLIENT_CONNECT_ATTRS))
  t.notOk(has(offeredToClient(ALL & ~CLIENT_CONNECT_ATTRS, false), CLIENT_CONNECT_ATTRS))
})

test('real servers and clients', async t => {
  const mysql = parseHandshakeV10(greetings.mysql).capabilities
  const mariadb = parseHandshakeV10(greetings.mariadb).capabilities
  t.equal(hex(offeredToClient(mysql, false)), hasZstd ? 'cffff7ff' : 'cbfff7ff')
  t.equal(hex(offeredToClient(mariadb, false)), '81fff7fe')

  const sent = (payload: Buffer, server: number) => {
    const { capabilities, database, attributes } = parseHandshakeResponse41(payload)
    return hex(
      sentUpstream(capabilities, server, { database: database !== undefined, attributes: attributes !== undefined }),
    )
  }
  t.equal(sent(responses.mysqlToMysql, mysql), '09bfaa8d', 'CLIENT_SSL added, multi-factor authentication dropped')
  t.equal(sent(responses.mariadbToMariadb, mariadb), '00bfaa8c', 'CLIENT_LONG_PASSWORD stays clear')
  t.equal(sent(responses.mysqlToMariadb, mariadb), '01bfaa8d', 'CLIENT_LONG_PASSWORD stays set')
  t.equal(sent(responses.mysql2ToMariadb, mariadb), '00bafbc6', 'CLIENT_CONNECT_WITH_DB without a name is dropped')
  t.ok(has(mysql, CLIENT_DEPRECATE_EOF))
})
