/** Fuzzes parsers, and sessions with fuzzed servers, in a separate process: bench/chaos.ts starts it. It prints JSON lines. */
import { readCorpus } from '../test/fuzz/corpus.ts'
import { checkAll, createFuzzer } from '../test/fuzz/engine.ts'
import { mutate } from '../test/fuzz/mutate.ts'
import { parsers } from '../test/fuzz/parsers.ts'
import { createRandom } from '../test/fuzz/random.ts'
import { playSessions } from '../test/fuzz/sessions.ts'

/** What a step has done. */
export interface FuzzStep {
  inputs: number
  sessions: number
  failures: string[]
}

const PARSER_INPUTS = 256
const SESSIONS = 40
/** Steps of all parsers for each step of sessions, which take longer. */
const PARSER_STEPS = 40

const random = createRandom(Number(process.argv[2]))
const fuzzers = Object.entries(parsers).map(([name, parser]) => {
  const corpus = readCorpus(name).map(({ input }) => input)
  return createFuzzer(corpus, random, checkAll(parser), { batch: PARSER_INPUTS, look: 'batch' })
})
const servers = readCorpus('server').map(({ input }) => input)
const say = (step: FuzzStep) => process.stdout.write(`${JSON.stringify(step)}\n`)

let isStopped = false
process.on('SIGTERM', () => {
  isStopped = true
})
while (!isStopped) {
  for (let n = 0; n < PARSER_STEPS && !isStopped; n++) {
    const failures: string[] = []
    for (const fuzzer of fuzzers) failures.push(...(await fuzzer.step()).map(({ message }) => message))
    say({ inputs: fuzzers.length * PARSER_INPUTS, sessions: 0, failures })
  }
  if (isStopped) break
  const scenarios = Array.from({ length: SESSIONS }, () => mutate(random.pick(servers), random, random.pick(servers)))
  say({ inputs: 0, sessions: SESSIONS, failures: await playSessions('server', scenarios) })
}
process.exit(0)
