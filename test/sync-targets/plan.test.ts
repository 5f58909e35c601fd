import { test } from 'tap'
import { type Lookup, plan, type Situation, type Target } from '../../src/sync-targets/plan.ts'

function target(address: string, health = 'healthy', more: Partial<Target> = {}): Target {
  return { address, port: 3306, zone: undefined, health, reason: undefined, ...more }
}

/** A situation. Each lookup is written as its addresses, or as `!` and a problem. */
function situation(lookups: string[], targets: Target[], more: Partial<Situation> = {}): Situation {
  return {
    port: 3306,
    collectAnswers: false,
    confirmations: 3,
    keepTargets: [],
    registered: [],
    withinHealthTimeout: true,
    lookups: lookups.map(text =>
      text.startsWith('!') ? { problem: text.slice(1), why: 'noAnswer' } : { addresses: text.split(' ') },
    ),
    targets,
    ...more,
  }
}

/** The action, and the addresses that it is about. */
function decide(lookups: string[], targets: Target[], more: Partial<Situation> = {}): string {
  const next = plan(situation(lookups, targets, more))
  if (next.action === 'register') return `register ${next.addresses.join(' ')}`
  if (next.action === 'deregister') return `deregister ${next.targets.map(({ address }) => address).join(' ')}`
  return next.action
}

test('nothing to do', async t => {
  t.equal(decide(['A'], [target('A')]), 'none')
  t.equal(decide(['A B'], [target('B'), target('A')]), 'none')
})

test('a correct target that is not healthy', async t => {
  const states: [health: string, reason: string | undefined, isNew: boolean, says: string, why: string][] = [
    ['initial', 'Elb.InitialHealthChecking', false, 'wait', 'stillInitial'],
    ['unhealthy', 'Target.FailedHealthChecks', true, 'wait', 'unhealthy'],
    ['unhealthy', 'Target.FailedHealthChecks', false, 'unhealthy', 'unhealthy'],
    ['unhealthy.draining', undefined, false, 'unhealthy', 'unhealthy'],
    ['unavailable', 'Elb.InternalError', false, 'unhealthy', 'unhealthy'],
    ['unused', 'Target.NotInUse', true, 'unhealthy', 'neverHealthy'],
    ['unused', 'Target.IpUnusable', true, 'unhealthy', 'neverHealthy'],
  ]
  for (const [health, reason, isNew, says, why] of states) {
    const targets = [target('A', health, { reason })]
    const registered = isNew ? ['A'] : []
    t.equal(decide(['A'], targets, { registered }), says, health)
    const late = plan(situation(['A'], targets, { registered, withinHealthTimeout: false }))
    t.match(late, { action: 'unhealthy', why, reason: new RegExp(`^A:3306 is ${health}`) }, `${health}, too late`)
  }
  t.equal(decide(['A B'], [target('A'), target('B', 'unhealthy')]), 'unhealthy', 'one of two')
  t.equal(decide(['A'], [target('A'), target('B', 'draining')]), 'none', 'another target that is draining')
})

test('a new address is registered at once', async t => {
  t.equal(decide(['B'], [target('A')]), 'register B')
  t.equal(decide(['B'], []), 'register B', 'into an empty group')
  t.equal(decide(['A B'], [target('A')]), 'register B')
  t.equal(decide(['A'], [target('A', 'draining')]), 'register A', 'draining: registered again')
  t.equal(decide(['A'], [target('A', 'unused', { reason: 'Target.NotRegistered' })]), 'register A')
  t.equal(decide(['A'], [target('A', 'healthy', { port: 3307 })]), 'register A', 'on another port it is not ours')
})

test('a stale target stays until enough lookups agree', async t => {
  const targets = [target('A'), target('B')]
  t.equal(decide(['B'], targets), 'lookup')
  t.equal(decide(['B', 'B'], targets), 'lookup')
  t.equal(decide(['B', 'B', 'B'], targets), 'deregister A')
  t.equal(decide(['A', 'B', 'B'], targets), 'lookup', 'a flap')
  t.equal(decide(['B', 'A', 'B', 'B'], targets), 'lookup')
  t.equal(decide(['B', 'B', '!SERVFAIL', 'B'], targets), 'lookup', 'a failure restarts the count')
  t.equal(decide(['B'], targets, { confirmations: 1 }), 'deregister A')
})

test('a stale target stays until all wanted targets are healthy', async t => {
  const agreed = ['B', 'B', 'B']
  for (const health of ['initial', 'unhealthy', 'unhealthy.draining', 'unavailable', 'unused']) {
    t.equal(decide(agreed, [target('A'), target('B', health)]), 'wait', health)
    const late = plan(situation(agreed, [target('A'), target('B', health)], { withinHealthTimeout: false }))
    t.match(late, { action: 'unhealthy', reason: `B:3306 is ${health}; A stays registered` })
  }
  t.equal(decide(['B C', 'B C', 'B C'], [target('A'), target('B'), target('C', 'initial')]), 'wait')
  t.equal(
    decide(agreed, [target('A'), target('B', 'unused', { reason: 'Target.NotInUse' })]),
    'unhealthy',
    'no load balancer checks this group: it never becomes healthy',
  )
})

test('other ports and --keep-target', async t => {
  const targets = [target('A'), target('B'), target('A', 'healthy', { port: 3307 })]
  t.same(plan(situation(['B', 'B', 'B'], targets)), { action: 'deregister', targets: [target('A')] })
  t.equal(decide(['B', 'B', 'B'], targets, { keepTargets: ['A'] }), 'none')
})

test('a bad answer changes nothing', async t => {
  for (const targets of [[], [target('A')], [target('A'), target('B')]]) {
    t.equal(decide(['!SERVFAIL'], targets), 'lookup')
    t.equal(decide(['B', 'B', 'B', '!SERVFAIL'], targets), 'lookup')
    t.equal(decide(['!x', '!x', '!x'], targets), 'refuse', 'as often as --confirmations says')
    t.equal(decide([], targets), 'lookup')
  }
  t.match(plan(situation(['!x', '!y', '!z'], [])), { reason: 'z' })
})

test('answers that keep changing', async t => {
  const flapping = Array.from({ length: 30 }, (_, index) => (index % 2 ? 'A' : 'B'))
  t.equal(decide(flapping, [target('A'), target('B')]), 'refuse')
  t.equal(decide(flapping.slice(1), [target('A'), target('B')]), 'lookup')
})

test('answers of reader endpoints are collected', async t => {
  const collectAnswers = { collectAnswers: true }
  t.equal(decide(['A', 'B', 'A'], [target('A'), target('B')], collectAnswers), 'none')
  t.equal(decide(['A', 'C'], [target('A'), target('B')], collectAnswers), 'register C')
  t.equal(decide(['A'], [target('A')], collectAnswers), 'lookup', 'one answer names one reader')
  t.equal(decide(['A', 'A', 'A'], [target('A')], collectAnswers), 'none')
  const absent = (count: number) => Array.from({ length: count }, () => 'A')
  const targets = [target('A'), target('B')]
  // Of two readers, 20 answers in a row name the same by chance once in a million times.
  t.equal(decide(absent(19), targets, collectAnswers), 'lookup')
  t.equal(decide(absent(20), targets, collectAnswers), 'deregister B')
  t.equal(decide([...absent(19), 'B'], targets, collectAnswers), 'none')
  t.equal(decide(['A', '!SERVFAIL', ...absent(19)], targets, collectAnswers), 'lookup')
})

/** A small generator with a seed, so that a failure can be had again. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), 1 | state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

test('the plan is safe in every situation', async t => {
  const names = ['A', 'B', 'C', 'D']
  const healths = ['healthy', 'healthy', 'healthy', 'initial', 'unhealthy', 'draining', 'unused', 'unhealthy.draining']
  const seen: Record<string, number> = {}
  let wrong = ''
  for (let seed = 1; seed <= 50_000 && wrong === ''; seed++) {
    const next = random(seed)
    const pick = <T>(list: readonly T[]) => list[Math.floor(next() * list.length)]!
    const some = (likely: number) => names.filter(() => next() < likely)
    // Answers that mostly repeat, as real ones do.
    const lookups: Lookup[] = []
    for (let count = Math.floor(next() * 30); count > 0; count--) {
      const last = lookups.at(-1)
      if (last && next() < 0.8) lookups.push(last)
      else if (next() < 0.15) lookups.push({ problem: 'bad', why: 'noAnswer' })
      else
        lookups.push({
          addresses: some(0.3)
            .concat(pick(names))
            .filter((name, at, all) => all.indexOf(name) === at),
        })
    }
    const targets = some(0.6).map(name => target(name, pick(healths), { port: next() < 0.9 ? 3306 : 3307 }))
    const given: Situation = {
      port: 3306,
      collectAnswers: next() < 0.3,
      confirmations: 1 + Math.floor(next() * 4),
      keepTargets: some(0.1),
      registered: some(0.2),
      withinHealthTimeout: next() < 0.7,
      lookups,
      targets,
    }
    const result = plan(given)
    seen[result.action] = (seen[result.action] ?? 0) + 1
    wrong = unsafe(given, result)
    if (wrong) wrong = `seed ${seed}: ${wrong}: ${JSON.stringify({ given, result })}`
  }
  t.equal(wrong, '')
  for (const action of ['none', 'register', 'lookup', 'wait', 'deregister', 'refuse', 'unhealthy']) {
    t.ok((seen[action] ?? 0) > 100, `${action}: ${seen[action]} times`)
  }
})

/** Why a plan is unsafe, '' if it is safe: written independently of the tested code. */
function unsafe(given: Situation, result: ReturnType<typeof plan>): string {
  const { lookups, targets, confirmations, keepTargets, collectAnswers } = given
  const newest = lookups.at(-1)
  const answer = newest && 'addresses' in newest ? newest.addresses : []
  const acts = result.action === 'register' || result.action === 'deregister'
  if (acts && answer.length === 0) return 'acts on a bad answer'
  const everNamed = lookups.flatMap(lookup => ('addresses' in lookup ? lookup.addresses : []))
  if (result.action === 'register') {
    if (result.addresses.length === 0) return 'registers nothing'
    if (!result.addresses.every(address => (collectAnswers ? everNamed : answer).includes(address)))
      return 'registers a stranger'
  }
  if (result.action === 'none') {
    const isServed = (address: string) =>
      targets.some(each => each.address === address && each.port === 3306 && each.health === 'healthy')
    if (!answer.every(isServed)) return 'is content with an address that is not healthy'
  }
  if (result.action !== 'deregister') return ''
  if (result.targets.length === 0) return 'removes nothing'
  const row = lookups.slice(-confirmations)
  if (row.length < confirmations) return 'removes before enough lookups'
  for (const lookup of row) {
    if (!('addresses' in lookup)) return 'removes with a failure in the row'
    if (!collectAnswers && [...lookup.addresses].sort().join() !== [...answer].sort().join())
      return 'removes during a flap'
    if (result.targets.some(({ address }) => lookup.addresses.includes(address))) return 'removes what was just named'
  }
  if (collectAnswers && lookups.length < 20) return 'removes a reader after few answers'
  if (result.targets.some(({ port }) => port !== 3306)) return 'removes on another port'
  if (result.targets.some(({ address }) => keepTargets.includes(address))) return 'removes a kept target'
  const left = targets.filter(each => !result.targets.includes(each) && each.port === 3306)
  const good = left.filter(({ address, health }) => health === 'healthy' && everNamed.includes(address))
  if (good.length === 0) return 'leaves no healthy target'
  for (const address of answer) if (!good.some(each => each.address === address)) return 'leaves before all are healthy'
  return ''
}
