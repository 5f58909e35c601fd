/** Tokens against those of botocore, the AWS SDK for Python. test/aws/botocore/record.py has written its signatures. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { createTokenSource } from '../../src/aws/token.ts'

interface Lists {
  regions: [name: string, suffix: string][]
  hosts: string[]
  ports: number[]
  userCharacters: string
  tokenCharacters: string
}

const read = (name: string) => readFileSync(new URL(`botocore/${name}`, import.meta.url), 'utf8')
const lists: Lists = JSON.parse(read('inputs.json'))
const signatures = read('signatures.txt').trim().split('\n').slice(1)

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** The same function is in record.py. */
function makeInput(index: number) {
  const digest = createHash('sha512').update(`token ${index}`).digest()
  const pick = <Value>(list: readonly Value[], byte: number): Value => list[byte % list.length]!
  const text = (characters: string, bytes: Uint8Array) => [...bytes].map(byte => pick([...characters], byte)).join('')
  const [region, suffix] = pick(lists.regions, digest[0]!)
  const session = text(lists.tokenCharacters, digest.subarray(40, 60)).repeat(1 + (digest[5]! % 40))
  return {
    rds: { host: `${pick(lists.hosts, digest[1]!)}.${region}.${suffix}`, port: pick(lists.ports, digest[2]!), region },
    user: text(lists.userCharacters, digest.subarray(8, 9 + (digest[3]! % 32))),
    keys: {
      accessKeyId: `ASIA${digest.toString('hex', 4, 12).toUpperCase()}`,
      secretAccessKey: digest.toString('hex', 12, 32),
      ...(digest[4]! % 2 ? { sessionToken: session } : {}),
    },
    milliseconds: 1_000 * (1_600_000_000 + (digest.readUInt32BE(60) % 1_000_000_000)),
  }
}

function sortParameters(token: string): string {
  const [place, parameters] = token.split('?')
  return `${place}?${parameters!.split('&').sort().join('&')}`
}

test("2,000 tokens equal botocore's but for the order of the parameters", async t => {
  t.equal(signatures.length, 2_000)
  const { Date: RealDate } = globalThis
  let now = 0
  // The signer asks for the date without arguments.
  globalThis.Date = class extends RealDate {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(now)
      else super(...(args as [number]))
    }
  } as DateConstructor
  t.teardown(() => {
    globalThis.Date = RealDate
  })
  const different: object[] = []
  for (const [index, signature] of signatures.entries()) {
    const { rds, user, keys, milliseconds } = makeInput(index)
    now = milliseconds
    const token = sortParameters(await createTokenSource(rds, async () => keys)(user))
    if (sha256(token).slice(0, signature.length) !== signature) different.push({ index, rds, user, token })
  }
  t.same(different, [])
})
