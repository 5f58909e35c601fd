/**
 * Fuzzes for a given time: npm run fuzz -- [--minutes N] [--seed S] [--only parsers|sessions] [--write]
 * Coverage of src/ guides it. What fails is minimised and printed, with the exit code 1; --write keeps what reached new
 * code in the corpus.
 */
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { keep, readCorpus } from './corpus.ts'
import { startCoverage } from './coverage.ts'
import { type Check, checkAll, createFuzzer, type Failure, type Fuzzer, minimise } from './engine.ts'
import { parsers } from './parsers.ts'
import { createRandom } from './random.ts'
import { playSessions, type Side } from './sessions.ts'

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    write: { type: 'boolean' },
  },
})

/** Sessions of a step. */
const SESSIONS = 200

/** Milliseconds for each failure. */
const TIME_TO_SHORTEN = 60_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const seed = Number(options.seed)
const ends = Date.now() + Number(options.minutes) * 60_000
const random = createRandom(seed)
const isSource = (url: string) => url.startsWith(new URL('../../src/', import.meta.url).href)
const coverage = startCoverage(isSource)

const sides: Side[] = ['client', 'server']
const fuzzers = new Map<string, Fuzzer>()
const checks = new Map<string, Check>()
if (options.only !== 'sessions') for (const [name, check] of Object.entries(parsers)) checks.set(name, checkAll(check))
if (options.only !== 'parsers')
  for (const side of sides) checks.set(side, (inputs, onTried) => checkSessions(side, inputs, onTried))

const failures: string[] = []
for (const [name, check] of checks) {
  const corpus = readCorpus(name).map(({ input }) => input)
  await report(name, await check(corpus))
  coverage.look().learn()
  const isSession = sides.includes(name as Side)
  const how = isSession ? ({ batch: SESSIONS, look: 'each' } as const) : ({ batch: 256, look: 'batch' } as const)
  fuzzers.set(name, createFuzzer(corpus, random, check, { ...how, coverage }))
}
say(`seed ${seed}; the corpus reaches ${coverage.size()} characters of src/`)

const started = Date.now()
let nextReport = started + 60_000
let count = 0
while (Date.now() < ends && failures.length < 20) {
  for (const [name, fuzzer] of fuzzers) {
    // A step of sessions takes as long as thousands of those of parsers.
    const steps = sides.includes(name as Side) ? 1 : 40
    for (let n = 0; n < steps; n++) {
      const failed = await fuzzer.step()
      if (failed.length > 0) await report(name, failed)
    }
  }
  if (count++ === 0 || Date.now() > nextReport) {
    sayHowFar()
    nextReport += 60_000
  }
}
sayHowFar()
if (options.write) for (const [name, fuzzer] of fuzzers) for (const input of fuzzer.added) write(name, input)
say(failures.length === 0 ? 'Nothing failed.' : `${failures.length} failures, seed ${seed}.`)
process.exit(failures.length === 0 ? 0 : 1)

/** A round fails as a whole; its sessions once more, one by one, show which. */
async function checkSessions(side: Side, scenarios: Buffer[], onTried?: (input: Buffer) => void): Promise<Failure[]> {
  const wrong = await playSessions(side, scenarios, onTried)
  return wrong.map(message => {
    const index = /; scenario (\d+)$/.exec(message)?.[1]
    return { message, input: index === undefined ? Buffer.alloc(0) : scenarios[Number(index)]! }
  })
}

async function report(name: string, failed: Failure[]): Promise<void> {
  const seen = new Set<string>()
  for (const { input, message } of failed) {
    const kind = message.split('\n').slice(0, 4).join('\n').replace(/\d+/g, 'N')
    if (seen.has(kind)) continue
    seen.add(kind)
    failures.push(message)
    say(`FAILED ${name}: ${message}\n${input.toString('hex')}`)
    const shortest = await shorten(name, input)
    say(`shorter: ${shortest.toString('hex')}`)
  }
}

async function shorten(name: string, input: Buffer): Promise<Buffer> {
  const check = checks.get(name)!
  const until = Date.now() + TIME_TO_SHORTEN
  return minimise(input, async shorter => Date.now() < until && (await check([shorter])).length > 0)
}

function sayHowFar(): void {
  collectGarbage()
  const { heapUsed, rss } = process.memoryUsage()
  const counts = [...fuzzers].map(([name, { tried, added }]) => `${name} ${tried} (+${added.length})`)
  const minutes = ((Date.now() - started) / 60_000).toFixed(1)
  const memory = `heap ${(heapUsed / 1e6).toFixed(0)} MB, resident ${(rss / 1e6).toFixed(0)} MB`
  say(`${minutes} min: ${counts.join(', ')}; ${coverage.size()} characters of src/; ${memory}`)
}

function write(name: string, input: Buffer): void {
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 8)
  keep(name, `found-${hash}`, `reached new code, seed ${seed}`, input)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
