/**
 * Changes the files of targets.ts in one place at a time, and runs the tests that should notice:
 * npm run mutate -- [--file src/protocol/auth.ts]… [--line 20]… [--sample 100] [--seed 1] [--jobs 2]
 *
 * Prints a score for each file and the changes that no test noticed; fails where fewer than FLOOR percent were noticed.
 */
import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import module from 'node:module'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createRandom } from '../fuzz/random.ts'
import { serverVariable, startMariadb } from '../support/mariadb.ts'
import { mysqlVariable } from '../support/mysql.ts'
import { installNode } from '../support/node-binary.ts'
import { EQUIVALENT } from './equivalent.ts'
import { applyMutant, createMutants, describeMutant, type Mutant } from './mutants.ts'
import { QUICK, TARGETS, type Target, WITH_SERVER } from './targets.ts'
import { measureLimit, type Outcome, tryTest, tryTexts } from './try.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Percent of the mutants, those of equivalent.ts aside. */
const FLOOR = 92

const { values: options } = parseArgs({
  options: {
    file: { type: 'string', multiple: true },
    line: { type: 'string', multiple: true },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
})

const { stripTypeScriptTypes } = module as { stripTypeScriptTypes?: (source: string) => string }
if (!stripTypeScriptTypes) {
  // Before Node.js 22.13 nothing here strips types and keeps positions.
  const node = await installNode('24')
  const again = spawn(node, ['--import=tsx', ...process.argv.slice(1)], { cwd: root, stdio: 'inherit' })
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => again.kill('SIGTERM'))
  await new Promise(resolve => again.on('exit', code => resolve(process.exit(code ?? 1))))
}

interface Candidate {
  mutant: Mutant
  /** the source with the change, in JavaScript */
  text: string
  name: string
  outcome: Outcome
}

interface Measured extends Target {
  javascript: string
  candidates: Candidate[]
}

const targets = await sample(TARGETS.filter(({ file }) => !options.file || options.file.includes(file)))
if (targets.length === 0) throw new Error(`no such file in test/mutate/targets.ts: ${options.file}`)

const needsServer = targets.some(({ tests }) => tests.some(test => !QUICK.has(test) || WITH_SERVER.has(test)))
const { decisions: _decisions, query: _query, stop, ...server } = needsServer ? await startMariadb() : nothing()
const env = {
  ...(needsServer && { [serverVariable]: JSON.stringify(server) }),
  [mysqlVariable]: JSON.stringify({ unavailable: 'mutants run on MariaDB alone' }),
}
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-mutate-'))
process.on('SIGINT', () => void cleanUp().then(() => process.exit(130)))
process.on('SIGTERM', () => void cleanUp().then(() => process.exit(143)))

try {
  const waiting = [...targets]
  const work = async (number: number) => {
    const project = await copyProject(number)
    for (let next = waiting.shift(); next; next = waiting.shift()) await measure(project, next)
  }
  await Promise.all(Array.from({ length: Number(options.jobs) }, (_, number) => work(number)))
} finally {
  await cleanUp()
}
report()

/** All mutants that count, those of some lines, or a sample of them that the seed repeats. */
async function sample(targets: readonly Target[]): Promise<Measured[]> {
  const random = createRandom(Number(options.seed))
  const measured: Measured[] = []
  const all: [Measured, Candidate][] = []
  for (const { file, tests } of targets) {
    const javascript = stripTypeScriptTypes!(await readFile(join(root, file), 'utf8'))
    const target: Measured = { file, tests, javascript, candidates: [] }
    measured.push(target)
    for (const mutant of createMutants(javascript)) {
      const name = describeMutant(javascript, mutant)
      const isEquivalent = EQUIVALENT.some(known => known.file === file && known.mutant === name)
      const text = applyMutant(javascript, mutant)
      const isWanted = !options.line || options.line.includes(String(mutant.line))
      if (isWanted && !isEquivalent) all.push([target, { mutant, text, name, outcome: 'passed' }])
    }
  }
  const size = options.sample === undefined ? all.length : Math.min(all.length, Number(options.sample))
  while (all.length > 0 && measured.reduce((sum, { candidates }) => sum + candidates.length, 0) < size) {
    const at = options.sample === undefined ? 0 : random.below(all.length)
    for (const [target, candidate] of all.splice(at, 1)) target.candidates.push(candidate)
  }
  return measured
}

function nothing() {
  return { decisions: undefined, query: undefined, stop: async () => {} }
}

/** What the tests need of the project, to be changed at will. */
async function copyProject(name: string | number): Promise<string> {
  const project = join(scratch, String(name))
  for (const part of ['src', 'bin', 'test', 'docs', 'examples', 'package.json', 'tsconfig.json', 'README.md']) {
    await cp(join(root, part), join(project, part), { recursive: true })
  }
  await symlink(join(root, 'node_modules'), join(project, 'node_modules'))
  return project
}

/** Runs the tests of one file against its mutants, each up to the first test file that notices. */
async function measure(project: string, { file, tests, javascript, candidates }: Measured): Promise<void> {
  for (const test of tests) {
    const left = candidates.filter(({ outcome }) => outcome === 'passed')
    if (left.length === 0) break
    const paths = { file: join(project, file), test: join(project, test) }
    const texts = left.map(({ text }) => text)
    const outcomes = QUICK.has(test) ? await tryTexts(project, paths, env, javascript, texts) : undefined
    if (!outcomes) await tryEach(project, file, test, left)
    for (const [at, outcome] of outcomes?.entries() ?? []) left[at]!.outcome = outcome
    const noticed = left.filter(({ outcome }) => outcome !== 'passed').length
    process.stdout.write(`${file}: ${test} has noticed ${noticed} of ${left.length}\n`)
  }
  for (const candidate of candidates) {
    if (candidate.outcome !== 'failed') process.stdout.write(`${candidate.outcome}: ${label(file, candidate)}\n`)
  }
}

async function tryEach(project: string, file: string, test: string, candidates: Candidate[]): Promise<void> {
  let limitMs = await measureLimit(project, test, env)
  for (const candidate of candidates) {
    for (;;) {
      await writeFile(join(project, file), candidate.text)
      candidate.outcome = await tryTest(project, test, env, limitMs)
      await cp(join(root, file), join(project, file))
      if (candidate.outcome !== 'hung') break
      // It hangs only if the machine is not slower by now.
      const [used, now] = [limitMs, await measureLimit(project, test, env)]
      limitMs = Math.max(used, now)
      if (now <= used) break
    }
  }
}

function label(file: string, { mutant, name }: Candidate): string {
  return `${file}:${mutant.line}  ${name}`
}

function report(): void {
  const line = (candidates: readonly Candidate[], what: string) => {
    const count = (wanted: Outcome) => candidates.filter(({ outcome }) => outcome === wanted).length
    const percent = candidates.length === 0 ? 100 : (100 * (candidates.length - count('passed'))) / candidates.length
    const cells = [candidates.length, count('failed'), count('hung'), count('passed'), percent.toFixed(1)]
    process.stdout.write(`${cells.map(cell => String(cell).padStart(8)).join(' ')}  ${what}\n`)
    return percent
  }
  process.stdout.write('\n mutants   failed     hung survived        %  file\n')
  for (const { file, candidates } of targets) line(candidates, file)
  const all = targets.flatMap(({ candidates }) => candidates)
  const percent = line(all, `all (floor ${FLOOR} %)`)
  process.stdout.write('\nSurvivors:\n')
  for (const { file, candidates } of targets) {
    for (const one of candidates) if (one.outcome === 'passed') process.stdout.write(`  ${label(file, one)}\n`)
  }
  process.exitCode = percent >= FLOOR ? 0 : 1
}

async function cleanUp(): Promise<void> {
  await stop()
  // A test that was killed may still write.
  await rm(scratch, { recursive: true, force: true, maxRetries: 10 })
}
