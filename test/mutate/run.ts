/**
 * Changes the files of targets.ts in one place at a time, and runs the tests that should notice:
 * npm run mutate -- [--file src/protocol/auth.ts]… [--sample 100] [--seed 1] [--jobs 2]
 *
 * Prints a score for each file and the changes that no test noticed; fails where fewer than FLOOR percent were noticed.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
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
import { TARGETS, type Target } from './targets.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Percent of the mutants, those of equivalent.ts aside. */
const FLOOR = 92

/** A test file that takes this many times as long as without a mutant, and SPARE_MS more, hangs: the mutant was noticed. */
const TIMES = 4
const SPARE_MS = 20_000

const { values: options } = parseArgs({
  options: {
    file: { type: 'string', multiple: true },
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
  target: Target
  javascript: string
  mutant: Mutant
}

const targets = TARGETS.filter(({ file }) => !options.file || options.file.includes(file)).map(({ file, tests }) => ({
  file,
  tests: tests.filter(test => existsSync(join(root, test))),
}))
if (targets.length === 0) throw new Error(`no such file in test/mutate/targets.ts: ${options.file}`)
const candidates = await sample(targets)

const { decisions: _decisions, query: _query, stop, ...server } = await startMariadb()
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-mutate-'))
process.on('SIGINT', () => void cleanUp().then(() => process.exit(130)))
process.on('SIGTERM', () => void cleanUp().then(() => process.exit(143)))

const survivors: Candidate[] = []
try {
  const limits = await measure([...new Set(targets.flatMap(({ tests }) => tests))])
  const waiting = [...candidates]
  const work = async (number: number) => {
    const project = await copyProject(number)
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      if (!(await isNoticed(project, next, limits))) {
        survivors.push(next)
        process.stdout.write(`survived: ${label(next)}\n`)
      }
    }
  }
  await Promise.all(Array.from({ length: Number(options.jobs) }, (_, number) => work(number)))
} finally {
  await cleanUp()
}
report()

/** All mutants that count, or a sample of them that the seed repeats. */
async function sample(targets: readonly Target[]): Promise<Candidate[]> {
  const all: Candidate[] = []
  for (const target of targets) {
    const javascript = stripTypeScriptTypes!(await readFile(join(root, target.file), 'utf8'))
    for (const mutant of createMutants(javascript)) {
      const name = describeMutant(javascript, mutant)
      const isEquivalent = EQUIVALENT.some(known => known.file === target.file && known.mutant === name)
      if (!isEquivalent) all.push({ target, javascript, mutant })
    }
  }
  if (!options.sample) return all
  const random = createRandom(Number(options.seed))
  const picked: Candidate[] = []
  while (all.length > 0 && picked.length < Number(options.sample)) {
    picked.push(...all.splice(random.below(all.length), 1))
  }
  return picked
}

/** Milliseconds that each test file may take; a file that fails without a mutant stops the run. */
async function measure(tests: readonly string[]): Promise<Map<string, number>> {
  const project = await copyProject('unchanged')
  const limits = new Map<string, number>()
  for (const test of tests) {
    const started = performance.now()
    if (!(await passes(project, test, 10 * 60_000))) throw new Error(`${test} fails without any change`)
    limits.set(test, TIMES * (performance.now() - started) + SPARE_MS)
  }
  return limits
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

async function isNoticed(project: string, candidate: Candidate, limits: Map<string, number>): Promise<boolean> {
  const { target, javascript, mutant } = candidate
  const path = join(project, target.file)
  await writeFile(path, applyMutant(javascript, mutant))
  try {
    for (const test of target.tests) if (!(await passes(project, test, limits.get(test)!))) return true
    return false
  } finally {
    await cp(join(root, target.file), path)
  }
}

/** Runs one test file up to its first failure. */
async function passes(project: string, test: string, limitMs: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--import=tsx', test], {
    cwd: project,
    stdio: 'ignore',
    detached: true,
    env: {
      ...process.env,
      TAP_BAIL: '1',
      TAP_TIMEOUT: '600',
      [serverVariable]: JSON.stringify(server),
      [mysqlVariable]: JSON.stringify({ unavailable: 'mutants run on MariaDB alone' }),
    },
  })
  // With all that the test has started.
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {}
  }
  const timer = setTimeout(kill, limitMs)
  const code = await new Promise(resolve => child.on('exit', resolve))
  clearTimeout(timer)
  kill()
  return code === 0
}

function label({ target, javascript, mutant }: Candidate): string {
  return `${target.file}:${mutant.line}  ${describeMutant(javascript, mutant)}`
}

function report(): void {
  const scoreOf = (file?: string) => {
    const counts = (list: Candidate[]) => list.filter(({ target }) => !file || target.file === file).length
    const [all, missed] = [counts(candidates), counts(survivors)]
    return { all, noticed: all - missed, percent: all === 0 ? 100 : (100 * (all - missed)) / all }
  }
  process.stdout.write('\nmutants  noticed      %  file\n')
  for (const { file } of targets) {
    const { all, noticed, percent } = scoreOf(file)
    process.stdout.write(
      `${String(all).padStart(7)} ${String(noticed).padStart(8)} ${percent.toFixed(1).padStart(6)}  ${file}\n`,
    )
  }
  process.stdout.write('\nSurvivors:\n')
  for (const survivor of survivors) process.stdout.write(`  ${label(survivor)}\n`)
  const { all, noticed, percent } = scoreOf()
  process.stdout.write(`\n${noticed} of ${all} mutants noticed: ${percent.toFixed(1)} % (floor ${FLOOR})\n`)
  process.exitCode = percent >= FLOOR ? 0 : 1
}

async function cleanUp(): Promise<void> {
  await stop()
  await rm(scratch, { recursive: true, force: true })
}
