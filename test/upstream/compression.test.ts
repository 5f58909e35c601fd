import { test } from 'tap'
import { silent } from '../../src/log.ts'
import { CLIENT_COMPRESS, CLIENT_ZSTD_COMPRESSION_ALGORITHM } from '../../src/protocol/capabilities.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { createLineCompression } from '../../src/upstream/compression.ts'
import { createTestClock } from '../support/clock.ts'

const [ZLIB, BOTH] = [CLIENT_COMPRESS, CLIENT_COMPRESS | CLIENT_ZSTD_COMPRESSION_ALGORITHM]
const best = hasZstd ? 'zstd' : 'zlib'

function setUp(compress: 'off' | 'auto' | 'zlib' | 'zstd') {
  const lines: string[] = []
  const log = { ...silent, warn: (_fields: object, message: string) => lines.push(message) }
  const dial = { host: 'db.test', port: 3306 }
  return { lines, compression: createLineCompression({ compress, dial }, log, createTestClock()) }
}

test('off needs nothing', t => {
  t.equal(setUp('off').compression, undefined)
  t.end()
})

test('zstd, or zlib where one side has no zstd', t => {
  const { compression, lines } = setUp('zstd')
  t.match(compression!.state(), { setting: 'zstd', next: 'zstd', why: '', roundTrip: undefined }, 'before a login')
  t.equal(compression!.choose(0, BOTH), best)
  t.match(compression!.state(), { next: best, why: hasZstd ? '' : 'this Node.js has no zstd' })
  t.equal(compression!.choose(0, ZLIB), 'zlib')
  t.match(compression!.state(), {
    next: 'zlib',
    why: hasZstd ? 'the server offers no zstd' : 'this Node.js has no zstd',
  })
  t.equal(compression!.choose(ZLIB, BOTH), undefined, 'a client that compresses itself')
  t.same(lines, [])
  const zlib = setUp('zlib').compression!
  t.equal(zlib.choose(0, BOTH), 'zlib')
  t.match(zlib.state(), { setting: 'zlib', next: 'zlib', why: '' })
  t.equal(zlib.line, undefined)
  t.end()
})

test('a server without compression is in the log, once until it has some', t => {
  const { compression, lines } = setUp('zlib')
  for (let login = 0; login < 3; login++) t.equal(compression!.choose(0, 0), undefined)
  t.same(lines, ['db.test:3306 offers no compression, so the option compress (zlib) has no effect'])
  t.match(compression!.state(), { next: undefined, why: 'the server offers no compression' })
  t.equal(compression!.choose(0, BOTH), 'zlib')
  t.match(compression!.state(), { next: 'zlib', why: '' })
  compression!.choose(0, 0)
  t.equal(lines.length, 2)
  t.end()
})

test('auto compresses over a slow line, and says why', t => {
  const { compression, lines } = setUp('auto')
  t.equal(compression!.choose(0, BOTH), undefined)
  t.match(compression!.state(), { setting: 'auto', next: undefined, why: 'the server has not greeted yet' })
  compression!.line!.greeted(20)
  t.equal(compression!.choose(0, BOTH), best)
  t.match(compression!.state(), { next: best, roundTrip: 20, why: /^greetings take 20 ms or more/ })
  compression!.choose(0, 0)
  t.match(compression!.state(), { next: undefined, why: /more; the server offers no compression$/ })
  compression!.line!.greeted(1)
  t.equal(compression!.choose(0, 0), undefined)
  t.match(compression!.state(), { next: undefined, why: 'a greeting came within 1 ms' })
  t.equal(lines.length, 1)
  t.end()
})

test('a server that refuses a larger network buffer is asked no more, and the log says so once', t => {
  const { compression, lines } = setUp('zstd')
  const [first, second] = [compression!.onTooLarge()!, compression!.onTooLarge()!]
  t.same(lines, [])
  first()
  second()
  t.equal(compression!.onTooLarge(), undefined)
  t.same(lines, [
    'db.test:3306 has a max_allowed_packet below 64 KiB: a session has ended with ERROR 1153, and the next ones have smaller compressed packets',
  ])
  t.end()
})
