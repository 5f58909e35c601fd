import { test } from 'tap'
import { readCorpus } from './corpus.ts'
import { mutate } from './mutate.ts'
import { createRandom } from './random.ts'
import { playSessions, type Side } from './sessions.ts'

/** Sessions of each side, beside the corpus. `npm run fuzz` plays more. */
const SESSIONS = 100

test('misbehaving peers do not affect other sessions and leave nothing behind', async t => {
  for (const side of ['client', 'server'] satisfies Side[]) {
    t.test(side, async t => {
      const corpus = readCorpus(side).map(({ input }) => input)
      t.ok(corpus.length > 10)
      const random = createRandom(1)
      const changed = Array.from({ length: SESSIONS }, () => mutate(random.pick(corpus), random, random.pick(corpus)))
      const scenarios = [...corpus, ...changed]
      const failures = await playSessions(side, scenarios)
      const ofScenarios = failures.map(failure =>
        scenarios[Number(/; scenario (\d+)$/.exec(failure)?.[1])]?.toString('hex'),
      )
      t.strictSame(failures, [], { scenarios: ofScenarios })
    })
  }
})
