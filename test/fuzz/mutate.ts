/** Changes to an input: what breaks parsers of lengths, terminators and flags. */
import type { Random } from './random.ts'

/** Longest input, in bytes. */
export const LONGEST = 160 * 1024

const NUMBERS = [0, 1, 3, 4, 8, 10, 17, 20, 21, 31, 32, 35, 127, 128, 250, 251, 252, 253, 254, 255]

const WORDS = [
  ...['mysql_clear_password\0', 'mysql_native_password\0', 'caching_sha2_password\0', 'mysql_old_password', '#28000'],
  ...['\0', '\0\0\0\0\0\0\0\0', '\xfb', '\xfc\xff\xff', '\xfd\xff\xff\xff', '\xfe\xff\xff\xff\xff\xff\xff\xff\xff'],
  ...[
    '\xfe\0\0\0\0\0\0\0\x01',
    '\xff\xff\xff',
    '\xff\xff\xff\xff',
    '\x00\x00\x02\x00',
    '\x5d\x00\x00\x00\x11',
    '\x28\xb5\x2f\xfd',
  ],
].map(text => Buffer.from(text, 'latin1'))

type Mutation = (input: Buffer, random: Random, other: Buffer) => Buffer

const mutations: Mutation[] = [
  (input, random) => replaced(input, random.below(input.length), Buffer.of(random.below(256))),
  (input, random) => replaced(input, random.below(input.length), Buffer.of(random.pick(NUMBERS))),
  (input, random) => {
    const at = random.below(input.length)
    return replaced(input, at, Buffer.of((input[at] ?? 0) ^ (1 << random.below(8))))
  },
  (input, random) => replaced(input, random.below(input.length), random.pick(WORDS)),
  (input, random) => spliced(input, random.below(input.length + 1), 0, random.pick(WORDS)),
  (input, random) => spliced(input, random.below(input.length + 1), 0, random.bytes(1 + random.below(8))),
  (input, random) => spliced(input, random.below(input.length), 1 + random.below(8), Buffer.alloc(0)),
  (input, random) => spliced(input, random.below(input.length), random.below(input.length), Buffer.alloc(0)),
  (input, random) => input.subarray(0, random.below(input.length)),
  (input, random) => {
    const from = random.below(input.length)
    return spliced(input, random.below(input.length + 1), 0, input.subarray(from, from + random.below(64)))
  },
  (input, random, other) =>
    Buffer.concat([input.subarray(0, random.below(input.length + 1)), other.subarray(random.below(other.length + 1))]),
  (input, random) => {
    const run = Buffer.alloc(random.below(random.pick([16, 300, 70_000])), random.pick(NUMBERS))
    return spliced(input, random.below(input.length + 1), 0, run)
  },
]

/** `input` with one to several changes; `other` lends parts. */
export function mutate(input: Buffer, random: Random, other: Buffer): Buffer {
  let output = input
  for (let count = 1 + random.below(4); count > 0; count--) output = random.pick(mutations)(output, random, other)
  return output.subarray(0, LONGEST)
}

function replaced(input: Buffer, at: number, bytes: Buffer): Buffer {
  return spliced(input, at, bytes.length, bytes)
}

function spliced(input: Buffer, at: number, remove: number, insert: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, at), insert, input.subarray(at + remove)])
}
