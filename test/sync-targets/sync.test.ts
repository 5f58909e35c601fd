/** Whole passes, in a world of the test's making in which time passes only when somebody sleeps. */
import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'
import type { Lookup, SyncResult, Target } from '../../src/sync-targets/plan.ts'
import {
  createSyncJob,
  type Dependencies,
  type SyncFailure,
  type SyncOptions,
  startSync,
  syncOnce,
} from '../../src/sync-targets/sync.ts'
import { TARGET_GROUP } from '../support/elb.ts'

const HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const { signal } = new AbortController()

const job = (options: Partial<SyncOptions> = {}) =>
  createSyncJob({ rdsEndpoint: HOST, targetGroupArn: TARGET_GROUP, credentials: async () => never(), ...options })

function never(): never {
  throw new Error('not to be called')
}

interface TestWorld extends Dependencies {
  targets: Map<string, Target>
  /** what was done, as `12s register A` */
  journal: string[]
}

interface Scene {
  /** registered and healthy at the beginning */
  targets?: string[]
  /** what the name servers say, by the seconds that have passed */
  names: (seconds: number, lookup: number) => string[] | string
  /** seconds until a new target is healthy; default 20 */
  healthyAfter?: (address: string) => number
  verify?: (address: string, seconds: number) => void
  /** called at each step, for what others do meanwhile */
  meanwhile?: (world: TestWorld, seconds: number) => void
  ttl?: number
}

/** Shares `clock` and `targets` between worlds where there are several copies. */
function createTestWorld(scene: Scene, shared?: TestWorld): TestWorld {
  const clock = { now: 0 }
  const bornAt = new Map<string, number>()
  let lookups = 0
  const seconds = () => Math.round(world.now() / 1_000)
  const live = (health: string, address: string): Target => ({
    address,
    port: 3306,
    zone: undefined,
    health,
    reason: undefined,
  })
  const write = (text: string) => world.journal.push(`${seconds()}s ${text}`)
  const world: TestWorld = {
    journal: shared?.journal ?? [],
    targets: shared?.targets ?? new Map((scene.targets ?? []).map(address => [address, live('healthy', address)])),
    now: () => shared?.now() ?? clock.now,
    async sleep(milliseconds) {
      if (shared) return await shared.sleep(milliseconds, signal)
      clock.now += milliseconds
      await new Promise(resolve => setImmediate(resolve))
    },
    async lookUp() {
      lookups++
      const answer = scene.names(seconds(), lookups)
      const said: Lookup = typeof answer === 'string' ? { problem: answer, why: 'noAnswer' } : { addresses: answer }
      return { ...said, ttl: scene.ttl ?? 5 }
    },
    verify: scene.verify && (async address => scene.verify?.(address, seconds())),
    openTargetGroup: async () => ({
      family: async () => 'ipv4',
      async targets() {
        scene.meanwhile?.(world, seconds())
        for (const [address, target] of world.targets) {
          const age = seconds() - (bornAt.get(address) ?? Number.NEGATIVE_INFINITY)
          const isDue = age >= (scene.healthyAfter?.(address) ?? 20)
          if (target.health === 'initial' && isDue) world.targets.set(address, live('healthy', address))
        }
        return [...world.targets.values()]
      },
      async register(addresses) {
        write(`register ${addresses.join(' ')}`)
        for (const address of addresses) {
          if (world.targets.has(address) && world.targets.get(address)?.health !== 'draining') continue
          bornAt.set(address, seconds())
          world.targets.set(address, live('initial', address))
        }
      },
      async deregister(targets) {
        write(`deregister ${targets.map(({ address }) => address).join(' ')}`)
        for (const { address } of targets) world.targets.set(address, live('draining', address))
      },
    }),
  }
  return world
}

async function pass(scene: Scene, options: Partial<SyncOptions> = {}) {
  const world = createTestWorld(scene)
  const result = await syncOnce(job(options), silent, signal, world)
  return { result, journal: world.journal, seconds: world.now() / 1_000, targets: world.targets }
}

const A = '10.0.1.1'
const B = '10.0.2.2'
const C = '10.0.3.3'

test('nothing to do takes one lookup', async t => {
  const { result, journal, seconds } = await pass({ targets: [A], names: () => [A] })
  t.match(result, { outcome: 'unchanged', wanted: [A], registered: [], deregistered: [], lookups: 1 })
  t.same(journal, [])
  t.equal(seconds, 0)
})

test('a failover: register, health, six lookups, deregister', async t => {
  const { result, journal } = await pass({ targets: [A], names: () => [B] })
  t.match(result, { outcome: 'changed', registered: [B], deregistered: [A] })
  t.same(journal, [`0s register ${B}`, `25s deregister ${A}`])
})

test('slow health checks', async t => {
  const { journal } = await pass({ targets: [A], names: () => [B], healthyAfter: () => 100 })
  t.same(journal, [`0s register ${B}`, `101s deregister ${A}`])
})

test('the next lookup waits for the time to live', async t => {
  const { journal, result } = await pass({ targets: [A], names: () => [B], ttl: 60 }, { confirmations: 3 })
  t.same(journal, [`0s register ${B}`, `120s deregister ${A}`])
  t.equal(result.lookups, 3)
})

test('a name that flaps for 30 s', async t => {
  const names = (seconds: number, lookup: number) => (seconds < 30 ? [lookup % 2 ? B : A] : [B])
  const { journal, result } = await pass({ targets: [A], names })
  t.same(journal[0], `0s register ${B}`)
  t.equal(journal.length, 2)
  t.ok(Number.parseInt(journal[1] ?? '', 10) >= 50, `${journal[1]}`)
  t.equal(result.outcome, 'changed')
})

test('a name that changes back: its new target is removed again', async t => {
  const { journal, targets } = await pass({ targets: [A], names: seconds => (seconds < 10 ? [B] : [A]) })
  t.same(journal[0], `0s register ${B}`)
  t.match(journal[1], `deregister ${B}`)
  t.equal(targets.get(A)?.health, 'healthy')
})

test('a new address that never becomes healthy: the old target stays', async t => {
  const scene = { targets: [A], names: () => [B], healthyAfter: () => Number.POSITIVE_INFINITY }
  const { result, journal, seconds } = await pass(scene, { healthTimeout: 60_000 })
  t.match(result, {
    outcome: 'unhealthy',
    why: 'stillInitial',
    reason: '10.0.2.2:3306 is initial; 10.0.1.1 stays registered',
    registered: [B],
    deregistered: [],
  })
  t.same(journal, [`0s register ${B}`])
  t.ok(seconds >= 60 && seconds < 70, `${seconds} s`)
})

test('the first target of a group: a pass waits until it is healthy', async t => {
  const { result, seconds } = await pass({ names: () => [A], healthyAfter: () => 100 })
  t.match(result, { outcome: 'changed', registered: [A], targets: [{ address: A, health: 'healthy' }] })
  t.ok(seconds >= 100, `${seconds} s`)
  const never = await pass({ names: () => [A], healthyAfter: () => Number.POSITIVE_INFINITY })
  t.match(never.result, { outcome: 'unhealthy', why: 'stillInitial', registered: [A] })
  t.ok(never.seconds >= 300, 'as long as --health-timeout')
})

test('a name that changes while a pass waits for health', async t => {
  const { journal, result } = await pass({
    names: seconds => (seconds < 60 ? [A] : [B]),
    healthyAfter: address => (address === A ? Number.POSITIVE_INFINITY : 20),
  })
  t.match(journal, [`0s register ${A}`, new RegExp(`^6\\ds register ${B}`), new RegExp(`deregister ${A}`)])
  t.match(result, { outcome: 'changed', wanted: [B] })
})

test('a database that is down: the pass says so at once and changes nothing', async t => {
  const { result, journal, seconds } = await pass({
    targets: [A],
    names: () => [A],
    meanwhile: world => {
      const target = world.targets.get(A)!
      world.targets.set(A, { ...target, health: 'unhealthy', reason: 'Target.FailedHealthChecks' })
    },
  })
  t.match(result, { outcome: 'unhealthy', why: 'unhealthy', reason: /10\.0\.1\.1:3306 is unhealthy/ })
  t.same(journal, [])
  t.equal(seconds, 0)
})

test('bad answers', async t => {
  const bad = await pass({ targets: [A], names: () => 'ESERVFAIL' }, { confirmations: 3 })
  t.match(bad.result, { outcome: 'refused', reason: 'ESERVFAIL', lookups: 3 })
  t.same(bad.journal, [])
  const passing = await pass({ targets: [A], names: seconds => (seconds < 10 ? 'ESERVFAIL' : [A]) })
  t.equal(passing.result.outcome, 'unchanged')
})

test('readers come and go', async t => {
  const named = (readers: string[]) => (_seconds: number, lookup: number) => [readers[lookup % readers.length]!]
  const reader = { rdsEndpoint: HOST.replace('database-1.', 'my-cluster.cluster-ro-') }
  const same = await pass({ targets: [A, B], names: named([A, B]), ttl: 1 }, reader)
  t.match(same.result, { outcome: 'unchanged', wanted: [A, B] })
  const more = await pass({ targets: [A, B], names: named([A, B, C]), ttl: 1 }, reader)
  t.match(more.result, { outcome: 'changed', registered: [C], deregistered: [] })
  const less = await pass({ targets: [A, B, C], names: named([A, B]), ttl: 1 }, reader)
  t.match(less.result, { outcome: 'changed', registered: [], deregistered: [C] })
  t.ok(less.result.lookups >= 34, `${less.result.lookups} lookups`)
})

test('--verify', async t => {
  const starting = await pass(
    {
      targets: [A],
      names: () => [B],
      verify: (_address, seconds) => {
        if (seconds < 12) throw new ProxyError('DIAL_REFUSED', 'connection refused')
      },
    },
    { verify: true },
  )
  t.match(starting.journal, [`12s register ${B}`, /deregister/])
  const wrong = await pass({
    targets: [A],
    names: () => [B],
    verify: () => {
      throw new ProxyError('TLS_WRONG_NAME', 'the certificate names somebody else')
    },
  })
  t.match(wrong.result, { outcome: 'refused', reason: /not registered: the certificate names somebody else/ })
  t.same(wrong.journal, [])
  t.equal(wrong.seconds, 0, 'another server stays another: no use in trying again')
  const down = await pass({
    targets: [A],
    names: () => [B],
    verify: () => {
      throw new ProxyError('DIAL_REFUSED', 'connection refused')
    },
  })
  t.match(down.result, { outcome: 'refused', reason: /connection refused/ })
  t.ok(down.seconds >= 300, 'tried for as long as --health-timeout')
})

test('--dry-run changes nothing', async t => {
  const { result, journal } = await pass({ targets: [A], names: () => [B] }, { dryRun: true })
  t.match(result, { outcome: 'changed', registered: [B], deregistered: [A], lookups: 1 })
  t.same(journal, [])
  const bad = await pass({ targets: [A], names: () => 'ENOTFOUND' }, { dryRun: true })
  t.match(bad.result, { outcome: 'refused', reason: 'ENOTFOUND' })
})

test('somebody else removes a target: it is registered again and reported', async t => {
  let stolen = false
  const { result, journal } = await pass({
    targets: [A],
    names: () => [B],
    meanwhile: (world, seconds) => {
      if (seconds >= 10 && !stolen) {
        stolen = true
        world.targets.delete(B)
      }
    },
  })
  t.match(result, { outcome: 'refused', why: 'contested', reason: /another program removed 10\.0\.2\.2/ })
  t.match(journal, [`0s register ${B}`, new RegExp(`register ${B}`)])
})

test('a person removes the old target first: no error', async t => {
  const { result, journal } = await pass({
    targets: [A],
    names: () => [B],
    meanwhile: (world, seconds) => void (seconds >= 10 && world.targets.delete(A)),
  })
  t.match(result, { outcome: 'changed', registered: [B], deregistered: [] })
  t.same(journal, [`0s register ${B}`])
})

test('two copies at once', async t => {
  const scene: Scene = { targets: [A], names: () => [B] }
  const first = createTestWorld(scene)
  const second = createTestWorld(scene, first)
  const results = await Promise.all([first, second].map(world => syncOnce(job(), silent, signal, world)))
  for (const { outcome, targets } of results) {
    t.equal(outcome, 'changed')
    t.match(
      targets.find(({ address }) => address === B),
      { health: 'healthy' },
    )
  }
})

test('two copies with contradictory name servers do not empty the group', async t => {
  const first = createTestWorld({ targets: [A], names: () => [A] })
  const second = createTestWorld({ names: () => [B] }, first)
  for (let round = 0; round < 20; round++) {
    await Promise.all([first, second].map(world => syncOnce(job({ confirmations: 2 }), silent, signal, world)))
    const live = [...first.targets.values()].filter(({ health }) => health !== 'draining')
    t.ok(live.length > 0, `${live.length} targets`)
  }
})

/** Other programs change the group in no time: a target is healthy at once and disappears when it is removed. */
function createQuickWorld(scene: Scene, shared?: TestWorld): TestWorld {
  const world = createTestWorld({ healthyAfter: () => 0, ...scene }, shared)
  const openTargetGroup = world.openTargetGroup.bind(world)
  world.openTargetGroup = async signal => {
    const group = await openTargetGroup(signal)
    return {
      ...group,
      async deregister(targets) {
        await group.deregister(targets)
        for (const { address } of targets) world.targets.delete(address)
      },
    }
  }
  return world
}

test('two copies with contradictory name servers stop, and both targets stay', async t => {
  const first = createQuickWorld({ names: () => [A] })
  const second = createQuickWorld({ names: () => [B] }, first)
  const once = await Promise.all(
    [first, second].map(world => syncOnce(job({ confirmations: 1 }), silent, signal, world)),
  )
  t.ok(
    once.some(({ outcome, why }) => outcome === 'refused' && why === 'contested'),
    JSON.stringify(once),
  )

  const stop = new AbortController()
  const ends: (SyncResult | SyncFailure)[][] = [[], []]
  let changesBefore = 0
  await Promise.all(
    [first, second].map((world, index) =>
      startSync(
        job({ confirmations: 1, interval: 5_000 }),
        silent,
        stop.signal,
        result => {
          ends[index]!.push(result)
          const passes = Math.min(ends[0]!.length, ends[1]!.length)
          if (passes === 20) changesBefore = first.journal.length
          if (passes >= 60) stop.abort()
        },
        world,
      ),
    ),
  )
  t.equal(first.journal.length, changesBefore, `changes have an end: ${first.journal.join(', ')}`)
  t.same([...first.targets.keys()].sort(), [A, B])
  for (const results of ends) {
    t.match(results.at(-1), { outcome: 'refused', why: 'contested', reason: /another program keeps registering/ })
  }
})

test('a group that never keeps what is registered', async t => {
  const world = createQuickWorld({ names: () => [A], meanwhile: ({ targets }) => targets.clear() })
  const result = await syncOnce(job(), silent, signal, world)
  t.match(result, { outcome: 'refused', why: 'contested', reason: /another program removed 10\.0\.1\.1/ })
  t.equal(world.journal.length, 3)
})

test('another program removes a target between two passes: it is registered again and reported', async t => {
  const stop = new AbortController()
  const world = createQuickWorld({ targets: [A], names: () => [A] })
  const outcomes: string[] = []
  const note = (result: SyncResult | SyncFailure) => {
    outcomes.push(result.outcome)
    if (outcomes.length === 1) world.targets.delete(A)
    if (outcomes.length === 3) stop.abort()
  }
  await startSync(job(), silent, stop.signal, note, world)
  t.same(outcomes, ['unchanged', 'refused', 'unchanged'])
  t.equal(world.journal.length, 1)
  t.ok(world.targets.has(A))
})

test('a name that moves back and forth between passes is no contest', async t => {
  const stop = new AbortController()
  const world = createQuickWorld({ targets: [A], names: seconds => (Math.floor(seconds / 300) % 2 ? [B] : [A]) })
  const outcomes = new Set<string>()
  const note = (result: SyncResult | SyncFailure) => {
    outcomes.add(result.outcome)
    if (world.now() > 3_600_000) stop.abort()
  }
  await startSync(job({ confirmations: 2 }), silent, stop.signal, note, world)
  t.same([...outcomes].sort(), ['changed', 'unchanged'])
})

test('startSync runs passes until it is stopped, also after failures', async t => {
  const stop = new AbortController()
  const world = createTestWorld({ targets: [A], names: seconds => (seconds < 100 ? [A] : [B]) })
  const results: (SyncResult | SyncFailure)[] = []
  const lookUp = world.lookUp.bind(world)
  let calls = 0
  world.lookUp = async signal => {
    if (++calls === 2) throw new ProxyError('SYNC_DENIED', 'no')
    return await lookUp(signal)
  }
  const log: string[] = []
  const logger = { ...silent, error: (_fields: object, message: string) => void log.push(message) }
  await startSync(
    job({ interval: 30_000 }),
    logger,
    stop.signal,
    result => {
      results.push(result)
      if (results.length === 6) stop.abort()
    },
    world,
  )
  t.same(
    results.map(({ outcome }) => outcome),
    ['unchanged', 'failed', 'unchanged', 'unchanged', 'changed', 'unchanged'],
  )
  t.match(results[1], { code: 'SYNC_DENIED', reason: 'no' })
  t.same(log, ['no'])
})

test('options', async t => {
  const made = job({ resolvers: ['10.0.0.2', '10.0.0.3:5353', '2a05:d018::2'], keepTargets: ['2A05:D018:0::1'] })
  t.same(made.resolvers, ['10.0.0.2:53', '10.0.0.3:5353', '[2a05:d018::2]:53'])
  t.same(made.keepTargets, ['2a05:d018::1'])
  for (const [name, gather] of [
    ['my-cluster.cluster-abc.eu-west-1.rds.amazonaws.com', false],
    ['my-cluster.cluster-ro-abc.eu-west-1.rds.amazonaws.com', true],
    ['reports.cluster-custom-abc.eu-west-1.rds.amazonaws.com', true],
    ['my-proxy.proxy-abc.eu-west-1.rds.amazonaws.com', true],
    [HOST, false],
  ] as const) {
    t.equal(job({ rdsEndpoint: name }).collectAnswers, gather, name)
  }
  t.equal(job({ collectAnswers: 'always' }).collectAnswers, true)
  for (const wrong of [
    { resolvers: ['dns.example.com'] },
    { keepTargets: ['A'] },
    { rdsEndpoint: '10.0.0.1' },
    { rdsEndpoint: 'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com' },
    { targetGroupArn: 'x' },
  ]) {
    t.throws(() => job(wrong), { code: 'CONFIG_INVALID' }, JSON.stringify(wrong))
  }
})

/** Numbers that are the same for the same seed. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return state / 0x7fffffff
  }
}

test('for random names and health checks, the group keeps a target and loses only stale ones', async t => {
  let changed = 0
  let wrong = ''
  for (let seed = 1; seed <= 1_500 && wrong === ''; seed++) {
    const next = random(seed * 7919)
    const pool = [A, B, C]
    const said: string[][] = []
    let current = [pool[Math.floor(next() * 3)]!]
    const scene: Scene = {
      targets: pool.filter(() => next() < 0.5),
      ttl: Math.floor(next() * 10),
      names: () => {
        if (next() < 0.1) current = [pool[Math.floor(next() * 3)]!]
        const bad = next() < 0.1
        said.push(bad ? [] : current)
        return bad ? 'ESERVFAIL' : current
      },
      healthyAfter: () => (next() < 0.1 ? Number.POSITIVE_INFINITY : next() * 60),
    }
    if (next() < 0.3) scene.verify = () => void (next() < 0.5 && fail())
    const confirm = 1 + Math.floor(next() * 4)
    const world = createTestWorld(scene)
    const group = await world.openTargetGroup(signal)
    world.openTargetGroup = async () => ({
      ...group,
      async deregister(targets) {
        const row = said.slice(-confirm)
        const removed = targets.map(({ address }) => address)
        if (row.length < confirm || row.some(answer => answer.length === 0)) wrong = 'removed without enough answers'
        if (row.some(answer => answer.some(address => removed.includes(address)))) wrong = 'removed what was named'
        await group.deregister(targets)
        const healthy = [...world.targets.values()].filter(({ health }) => health === 'healthy')
        if (!healthy.some(({ address }) => row.at(-1)?.includes(address)))
          wrong = 'left no healthy target that is wanted'
      },
    })
    const result = await syncOnce(job({ confirmations: confirm, healthTimeout: 120_000 }), silent, signal, world)
    if (result.deregistered.length > 0) changed++
    if (wrong) wrong = `seed ${seed}: ${wrong}: ${world.journal.join(', ')}`
  }
  t.equal(wrong, '')
  t.ok(changed > 300, `${changed} passes removed something`)
})

function fail(): never {
  throw new ProxyError('DIAL_TIMEOUT', 'nobody there')
}
