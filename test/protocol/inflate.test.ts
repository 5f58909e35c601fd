import zlib, { deflateSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { createInflater, hasZstd, inflateWhole } from '../../src/protocol/inflate.ts'

const { zstdCompressSync } = zlib as { zstdCompressSync?: (data: Buffer) => Buffer }
const ZSTD_MAGIC = Buffer.from('28b52ffd', 'hex')
const TEXT = Buffer.from('SELECT 1')

/** Where Node.js has no zstd, the first bytes of such a stream. */
function compressWithZstd(data: Buffer): Buffer {
  return zstdCompressSync?.(data) ?? ZSTD_MAGIC
}

/** What `streams` are decompressed to. Each arrives in parts. */
async function inflate(...streams: Buffer[][]): Promise<string[]> {
  const found: string[] = []
  const inflater = createInflater(bytes => {
    found[found.length - 1] += bytes.toString('latin1')
  })
  try {
    for (const parts of streams) {
      inflater.reset()
      found.push('')
      for (const part of parts) await inflater.write(part)
    }
    return found
  } finally {
    inflater.destroy()
  }
}

async function malformed(t: Test, work: Promise<unknown>, message: string): Promise<void> {
  await t.rejects(work, new MalformedPacket(message))
}

test('a stream in pieces, also where a later piece begins like zstd', async t => {
  const stored = Buffer.concat([Buffer.of(0x78, 0x01, 1, 2, 0, 0xfd, 0xff), Buffer.of(0x28, 0x28)])
  t.same(await inflate([stored.subarray(0, 7), stored.subarray(7)]), ['(('])
  const zip = deflateSync(TEXT)
  t.same(await inflate(Array.from(zip, byte => Buffer.of(byte))), [TEXT.toString()])
  t.same(await inflate([Buffer.alloc(0), zip, Buffer.alloc(0)]), [TEXT.toString()], 'empty pieces')
})

/** On Node.js without zstd, such a stream is malformed. */
async function zstd(t: Test, work: () => Promise<string[]>, expected: string[]): Promise<void> {
  if (hasZstd) t.same(await work(), expected)
  else await malformed(t, work(), 'zstd, which was not offered')
}

test('zlib and zstd in turn', async t => {
  const [zip, zstdParts] = [[deflateSync(TEXT)], [compressWithZstd(TEXT)]]
  await zstd(t, () => inflate(zip, zstdParts, zip, zstdParts, zstdParts), Array(5).fill(TEXT.toString()))
  await zstd(t, () => inflate([Buffer.alloc(0), ...zstdParts]), [TEXT.toString()])
})

test('bytes that are no compressed stream', async t => {
  await malformed(t, inflate([Buffer.from('no stream')]), 'not a compressed stream')
  const long = Buffer.concat([deflateSync(TEXT), Buffer.of(1)])
  await malformed(t, inflate([long]), 'bytes after the end of a compressed stream')
  const invalid = Buffer.concat([ZSTD_MAGIC, Buffer.alloc(64, 0xff)])
  await malformed(t, inflate([invalid]), hasZstd ? 'not a compressed stream' : 'zstd, which was not offered')
})

test('an error of the receiver stops the stream', async t => {
  const stop = new Error('stop')
  let calls = 0
  const inflater = createInflater(() => {
    calls++
    throw stop
  })
  await t.rejects(inflater.write(deflateSync(Buffer.alloc(1_000_000))), stop)
  t.equal(calls, 1)
  await malformed(t, inflater.write(Buffer.alloc(1)), 'not a compressed stream')
  inflater.destroy()
})

test('after destroy(), neither kind of stream is left', async t => {
  const inflater = createInflater(() => {})
  const kinds = [deflateSync(TEXT), ...(hasZstd ? [compressWithZstd(TEXT)] : [])]
  for (const stream of kinds) {
    inflater.reset()
    await inflater.write(stream)
  }
  inflater.destroy()
  await malformed(t, inflater.write(kinds.at(-1)!), 'not a compressed stream')
  const another = createInflater(() => {})
  await another.write(kinds[0]!)
  another.destroy()
  await malformed(t, another.write(kinds[0]!), 'not a compressed stream')
})

test('a whole payload has exactly its length', t => {
  const wrong = new MalformedPacket('not a compressed payload of its length')
  const [none, one] = [Buffer.alloc(0), Buffer.of(1)]
  for (const compress of [deflateSync, ...(hasZstd ? [compressWithZstd] : [])]) {
    for (const data of [none, one, TEXT]) t.same(inflateWhole(compress(data), data.length), data)
    t.throws(() => inflateWhole(compress(TEXT), TEXT.length + 1), wrong)
    t.throws(() => inflateWhole(compress(TEXT), TEXT.length - 1), wrong)
    t.throws(() => inflateWhole(compress(one), 0), wrong)
  }
  t.throws(() => inflateWhole(TEXT, TEXT.length), wrong)
  if (!hasZstd) t.throws(() => inflateWhole(compressWithZstd(TEXT), TEXT.length), wrong)
  t.end()
})
