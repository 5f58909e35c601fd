/**
 * Plays all kinds of faults at random and together, while honest clients check every byte and every answer:
 * npm run chaos -- [--minutes N] [--seed S] [--faults N] [--only WORD] [--storm N] [--server mariadb|mysql]
 *
 * It ends with a table, and with exit code 1 if anything failed that no fault explains, or anything was left behind. As root
 * on Linux it runs in separate namespaces, which black holes, killed servers and full disks need.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setPriority } from 'node:os'
import { createInterface } from 'node:readline'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createRandom, type Random } from '../test/fuzz/random.ts'
import { programVariable } from '../test/support/program.ts'
import {
  binlogClient,
  checkLedger,
  createTables,
  dumpClient,
  guiClient,
  type HonestContext,
  loginClient,
  open,
  openGuarded,
  poolClient,
  stormClient,
} from './chaos-clients.ts'
import {
  type BadClient,
  FLOOD_CLIENTS,
  PATIENT_CLIENTS,
  QUICK_CLIENTS,
  stalledReader,
  worldFaults,
} from './chaos-faults.ts'
import type { FuzzStep } from './chaos-fuzz.ts'
import { createRecord } from './chaos-record.ts'
import { type ChaosProxy, createWorld, usage } from './chaos-world.ts'
import { buildIfStale } from './peers.ts'

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    /** ends after so many faults around the proxies, whatever the time: a run of the same length on any machine */
    faults: { type: 'string' },
    /** of the faults around the proxies, only those with this word in their name */
    only: { type: 'string', default: '' },
    /** clients that log in as often as they can, for each proxy */
    storm: { type: 'string', default: '0' },
    server: { type: 'string', default: 'mariadb' },
  },
})

const NAMESPACES = ['--net', '--pid', '--mount', '--fork', '--mount-proc', '--kill-child']

// In separate namespaces, which end with the process and everything that it started.
if (process.env['IN_NAMESPACE'] === undefined) {
  if (process.env[programVariable] === undefined) buildIfStale()
  const canUnshare = process.getuid?.() === 0 && spawnSync('unshare', [...NAMESPACES, 'ip', 'link']).status === 0
  const command = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const [program = '', ...words] = canUnshare ? ['unshare', ...NAMESPACES, ...command] : command
  const again = spawn(program, words, {
    stdio: 'inherit',
    env: { ...process.env, IN_NAMESPACE: canUnshare ? '1' : '0' },
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => again.kill('SIGKILL'))
  const [code] = await once(again, 'exit')
  process.exit(code ?? 1)
}

/** For what must happen, but may take long on a busy machine. */
const PATIENCE_MS = 180_000

/** A pause of this program that counts as a disruption. */
const STALL_MS = 1_000

/** Bad clients at a time. */
const QUICK_LANES = 4
const PATIENT_LANES = 6

const seed = Number(options.seed)
const record = createRecord()
const world = await createWorld(options.server === 'mysql' ? 'mysql' : 'mariadb', process.env['IN_NAMESPACE'] === '1')
await createTables(world)

const ends = performance.now() + Number(options.minutes) * 60_000
const maxFaults = options.faults === undefined ? Number.POSITIVE_INFINITY : Number(options.faults)
let worldFaultCount = 0
let isOver = false
/** of each proxy, before the first fault */
let before: ReturnType<typeof usage>[] | undefined
const goesOn = () => !isOver

// ---- the local password changes only while no honest client uses it ----

let using = 0
let held: Promise<void> | undefined
const rotation = {
  async hold() {
    let release = () => {}
    held = new Promise(resolve => {
      release = resolve
    })
    while (using > 0) await sleep(20)
    return () => {
      held = undefined
      release()
    }
  },
}

const context: HonestContext = {
  world,
  record,
  goesOn,
  usingPassword: async work => {
    while (held) await held
    using++
    try {
      return await work()
    } finally {
      using--
    }
  },
  committed: new Map(),
  tried: new Map(),
}

// ---- lanes ----

/** Bad clients, in sequence. What they do does not depend on the time that each takes. */
async function badLane(clients: { [kind: string]: BadClient }, random: Random): Promise<void> {
  const kinds = Object.keys(clients)
  while (goesOn()) {
    // A flood is many connections.
    const kind = [random.pick(kinds), random.pick(kinds)].find(one => one !== 'flood') ?? 'flood'
    record.play(kind)
    record.badConnections += kind === 'flood' ? FLOOD_CLIENTS : 1
    if (kind === 'fuzzed client') record.fuzzedInputs++
    await clients[kind]!(random.pick(world.proxies), random).catch(() => undefined)
    await turn() // a connect() that the system refuses needs no event, and a lane of those would let nothing else run
  }
}

async function stalledLane(): Promise<void> {
  while (goesOn()) {
    record.play('client that stops reading')
    await stalledReader(world.proxies[0]!).catch(() => undefined)
    for (let pause = 0; pause < 20 && goesOn(); pause++) await sleep(500)
  }
}

/** Faults around the proxies, in sequence. After a disruptive one, everything must work again before the next. */
async function worldLane(random: Random): Promise<void> {
  const faults = worldFaults(world, record, rotation, () => recover('new credentials'))
  const kinds = Object.keys(faults).filter(kind => faults[kind]!.run && kind.includes(options.only))
  while (performance.now() < ends && worldFaultCount < maxFaults) {
    const kind = random.pick(kinds)
    const { disrupts, run } = faults[kind]!
    worldFaultCount++
    if (disrupts) {
      const stopExplaining = record.disrupt(kind)
      await run!(random)
      await recover(kind)
      stopExplaining()
    } else {
      record.play(kind)
      await run!(random)
    }
    await sleep(random.below(2_000))
  }
  isOver = true
}

/** Waits until a login works through each listener. */
async function recover(kind: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  // Each listener has its own circuit breaker, which may still pause logins.
  const logins = world.proxies.flatMap(({ guarded, open: plain, bare }) => [
    () => openGuarded(guarded, world.password),
    () => open(plain),
    () => open(bare),
  ])
  for (const logIn of logins) {
    for (;;) {
      try {
        const connection = await logIn()
        await connection.query('SELECT 1')
        record.logins++
        connection.destroy()
        break
      } catch (error) {
        if (performance.now() > deadline) {
          record.fail(`no login ${PATIENCE_MS / 1_000} s after ${kind}: ${(error as Error).message}`)
          return
        }
        await sleep(100)
      }
    }
  }
}

/** Looks at the logs, and keeps the second proxy's disk from filling up by itself. */
async function watchLogs(): Promise<void> {
  while (goesOn()) {
    for (const proxy of world.proxies) checkLog(proxy)
    await sleep(1_000)
  }
}

function checkLog({ name, child, takeLog }: ChaosProxy): void {
  const bug = /.*"INTERNAL".*/.exec(takeLog())
  if (bug) record.fail(`the ${name} proxy has a bug: ${bug[0]}`)
  if (child.exitCode !== null || child.signalCode !== null) {
    record.fail(`the ${name} proxy stopped`)
    isOver = true
  }
}

function startFuzzing(): () => Promise<void> {
  const program = fileURLToPath(new URL('chaos-fuzz.ts', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, program, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  setPriority(child.pid!, 19) // it may use what the other processes leave
  createInterface(child.stdout).on('line', line => {
    const { inputs, sessions, failures } = JSON.parse(line) as FuzzStep
    record.fuzzedInputs += inputs + sessions
    for (let n = 0; n < sessions; n++) record.play('fuzzed server')
    for (const failure of failures) record.fail(`fuzzing: ${failure}`)
  })
  return async () => {
    if (child.exitCode !== null) {
      record.fail(`the fuzzer exited with ${child.exitCode}`)
      return
    }
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}

// ---- the run ----

const warmUp = createRandom(seed)
for (const proxy of world.proxies) {
  for (let n = 0; n < 20; n++) await QUICK_CLIENTS['reset during login']!(proxy, warmUp).catch(() => undefined)
}
await recover('the start')
await untilIdle()
before = world.proxies.map(({ child }) => usage(child.pid!))
const peaks = before.map(({ megabytes }) => megabytes)
const sampler = setInterval(() => {
  for (const [index, { child }] of world.proxies.entries()) {
    if (child.exitCode === null) peaks[index] = Math.max(peaks[index]!, usage(child.pid!).megabytes)
  }
}, 1_000)

// On a busy machine this program may be late by more than a proxy waits for a silent client while others wait.
let lastTick = performance.now()
const ticker = setInterval(() => {
  const now = performance.now()
  if (now - lastTick > STALL_MS) record.stall(lastTick, now + STALL_MS)
  lastTick = now
}, 100)

const [first, second] = world.proxies as [ChaosProxy, ChaosProxy]
let streams = seed * 1_000
const next = () => createRandom(++streams)
const stopFuzzing = startFuzzing()
const started = performance.now()
await Promise.all([
  worldLane(next()),
  ...Array.from({ length: QUICK_LANES }, () => badLane(QUICK_CLIENTS, next())),
  ...Array.from({ length: PATIENT_LANES }, () => badLane(PATIENT_CLIENTS, next())),
  stalledLane(),
  showProgress(),
  watchLogs(),
  loginClient(context, first, next()),
  loginClient(context, first, next()),
  loginClient(context, second, next()),
  poolClient(context, first, next()),
  poolClient(context, second, next()),
  guiClient(context, second, next()),
  dumpClient(context, first, next()),
  binlogClient(context, second),
  ...Array.from({ length: Number(options.storm) }, () =>
    world.proxies.map(one => stormClient(context, one, next())),
  ).flat(),
])
const minutes = (performance.now() - started) / 60_000
await stopFuzzing()
await recover('the end')
await checkLedger(context)
const left = await untilIdle()
clearInterval(sampler)
clearInterval(ticker)
for (const proxy of world.proxies) checkLog(proxy)
const after = world.proxies.map(({ child }) => usage(child.pid!))
const connectErrors = await sumConnectErrors()
report()
await world.stop()
process.exit(record.unexplained.length === 0 ? 0 : 1)

/** Waits until no session is left; resolves with the server connections that are. */
async function untilIdle(): Promise<number> {
  const deadline = performance.now() + PATIENCE_MS
  const count = async () =>
    (
      await world.server.query(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER LIKE 'iam%' OR USER LIKE 'chaos%' OR USER LIKE 'unauth%'",
      )
    ).length
  for (;;) {
    const open = await count()
    const descriptors = world.proxies.map(({ child }) => usage(child.pid!).descriptors)
    const isIdle = before === undefined || descriptors.every((now, index) => now <= before[index]!.descriptors)
    if (open === 0 && isIdle) return 0
    if (performance.now() > deadline) {
      record.fail(`${open} server connections and ${descriptors.join(' and ')} descriptors are left`)
      return open
    }
    await sleep(200)
  }
}

/** A row of the progress table, each minute. */
async function showProgress(): Promise<void> {
  process.stdout.write('| minute | logins | resident MB | open descriptors |\n| --- | --- | --- | --- |\n')
  for (let minute = 1; goesOn(); minute++) {
    while (goesOn() && performance.now() < started + minute * 60_000) await sleep(1_000)
    const now = world.proxies.map(({ child }) => usage(child.pid!))
    const megabytes = now.map(one => one.megabytes.toFixed(0)).join(', ')
    const descriptors = now.map(one => one.descriptors).join(', ')
    process.stdout.write(`| ${minute} | ${record.logins} | ${megabytes} | ${descriptors} |\n`)
  }
}

async function sumConnectErrors(): Promise<number> {
  const [row] = await world.server.query('SELECT SUM(SUM_CONNECT_ERRORS) AS sum FROM performance_schema.host_cache')
  return Number((row as { sum: number | null }).sum ?? 0)
}

function report(): void {
  const say = (line: string) => process.stdout.write(`${line}\n`)
  const total = (map: Map<string, number>) => [...map.values()].reduce((sum, count) => sum + count, 0)
  const list = (map: Map<string, number>) =>
    [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, count]) => `| ${kind} | ${count.toLocaleString('en')} |`)
  say(`\n${world.server.version}, Node.js ${process.versions.node}, seed ${seed}, ${minutes.toFixed(1)} minutes\n`)
  for (const why of world.missing) say(`Not played: ${why}.\n`)
  say('| fault | played |\n| --- | ---: |')
  for (const line of list(record.faults)) say(line)
  say('\n| honest operation | correct |\n| --- | ---: |')
  for (const line of list(record.operations)) say(line)
  say('\n| | |\n| --- | ---: |')
  const megabytes = world.proxies.map(
    (_, n) => `${before![n]!.megabytes.toFixed(0)} → ${after[n]!.megabytes.toFixed(0)} (peak ${peaks[n]!.toFixed(0)})`,
  )
  const descriptors = world.proxies.map((_, n) => `${before![n]!.descriptors} → ${after[n]!.descriptors}`)
  const lines: [string, string | number][] = [
    ['faults', total(record.faults)],
    ['connections of bad clients', record.badConnections],
    ['honest operations', total(record.operations)],
    ['logins of honest clients', record.logins],
    ['of them by COM_CHANGE_USER', record.changedUsers],
    ['fuzzed inputs', record.fuzzedInputs],
    ['pauses of this program of more than a second', record.stalls],
    ['failures that a fault or a pause explains', record.explained],
    ['**failures that no fault explains**', record.unexplained.length],
    ['committed rows, all found', context.committed.size],
    ['resident MB of each proxy', megabytes.join(', ')],
    ['descriptors of each proxy', descriptors.join(', ')],
    ['server connections left', left],
    ['SUM_CONNECT_ERRORS', connectErrors],
  ]
  for (const [what, count] of lines)
    say(`| ${what} | ${typeof count === 'number' ? count.toLocaleString('en') : count} |`)
}
