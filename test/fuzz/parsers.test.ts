import { test } from 'tap'
import { readCorpus } from './corpus.ts'
import { checkAll, createFuzzer } from './engine.ts'
import { parsers } from './parsers.ts'
import { createRandom } from './random.ts'

/** Inputs of each parser, beside the corpus. `npm run fuzz` tries more. */
const INPUTS = 2_000

for (const [name, parser] of Object.entries(parsers)) {
  test(`${name}: any bytes are parsed, or a MalformedPacket`, async t => {
    const check = checkAll(parser)
    const corpus = readCorpus(name)
    t.ok(corpus.length > 0)
    for (const entry of corpus) t.strictSame(await check([entry.input]), [], entry.name)
    const fuzzer = createFuzzer(
      corpus.map(({ input }) => input),
      createRandom(1),
      check,
      { batch: INPUTS, look: 'batch' },
    )
    for (const { input, message } of await fuzzer.step()) t.fail(`${message}\n${input.toString('hex')}`)
  })
}
