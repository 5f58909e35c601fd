/**
 * What the tests run of src/ and bin/: Node.js records it in each process (NODE_V8_COVERAGE), c8 puts it together.
 * bin/package/ does not count, because `npm run test:package` tests it.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const c8 = join(root, 'node_modules/.bin/c8')
const OURS = new RegExp(`^${new URL('../..', import.meta.url).href}(src|bin)/[^?]*\\.ts$`)

/** In percent. A change that adds code adds its tests. */
const FLOOR = { lines: 98.5, branches: 92 }

/** How many of the least covered files are printed. */
const WORST_FILES = 15

interface Count {
  total: number
  covered: number
  pct: number
}

/** Of Node.js: the lengths of the lines that ran. */
interface SourceMapEntry {
  lineLengths: number[]
}

type Summary = Record<string, { lines: Count; branches: Count }>

/** Of istanbul's coverage-final.json, what is used here. */
interface FileCoverage {
  statementMap: Record<string, { start: { line: number }; end: { line: number } }>
  s: Record<string, number>
}

/** A directory for Node.js to record into, writable also by a process of another user. */
export async function prepareCoverage(scratch: string): Promise<string> {
  const directory = join(scratch, 'coverage')
  await mkdir(directory)
  await chmod(scratch, 0o755)
  await chmod(directory, 0o777)
  return directory
}

/**
 * Prints the totals and the least covered files.
 * @param build where the sources were compiled
 * @returns whether the totals reach the floor
 */
export async function reportCoverage(directory: string, build: string): Promise<boolean> {
  await keepOurs(directory, build)
  const reports = join(directory, 'report')
  const sources = [
    '--all',
    '--src=src',
    '--src=bin',
    '--include=src/**/*.ts',
    '--include=bin/*.ts',
    '--exclude=test/**',
    ...(await filesOfTypes(build)).map(path => `--exclude=${path}`),
  ]
  const wanted = ['--reporter=json-summary', '--reporter=json', `--reports-dir=${reports}`]
  const merging = [`--temp-directory=${directory}`, '--merge-async', '--clean=false']
  await promisify(execFile)(c8, ['report', ...merging, ...sources, ...wanted], { cwd: root, maxBuffer: 64 << 20 })
  const summary = JSON.parse(await readFile(join(reports, 'coverage-summary.json'), 'utf8')) as Summary
  const details = JSON.parse(await readFile(join(reports, 'coverage-final.json'), 'utf8'))
  const { total, ...files } = summary
  const missing = ({ lines, branches }: Summary[string]) =>
    lines.total - lines.covered + branches.total - branches.covered
  const worst = Object.entries(files)
    .filter(([, counts]) => missing(counts) > 0)
    .sort(([, a], [, b]) => missing(b) - missing(a))
    .slice(0, WORST_FILES)
  process.stdout.write('\nlines %  branches %  file, and lines that no test runs\n')
  for (const [path, { lines, branches }] of worst) {
    process.stdout.write(
      `${percent(lines.pct)}  ${percent(branches.pct)}       ${path.slice(root.length)} ${uncovered(details[path])}\n`,
    )
  }
  const { lines, branches } = total!
  const reached = lines.pct >= FLOOR.lines && branches.pct >= FLOOR.branches
  process.stdout.write(
    `coverage: ${lines.pct} % of lines (floor ${FLOOR.lines}), ${branches.pct} % of branches (floor ${FLOOR.branches})${reached ? '' : ': TOO LOW'}\n`,
  )
  return reached
}

/** The sources without a line that could run: nothing loads them. */
async function filesOfTypes(build: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir(join(build, 'src'), { recursive: true })) {
    if (!name.endsWith('.js') || name.startsWith(join('admin', 'page'))) continue
    const code = await readFile(join(build, 'src', name), 'utf8')
    const isEmpty =
      code
        .replace(/\/\*.*?\*\//gs, '')
        .replace(/^\s*(\/\/.*|export \{\};)$/gm, '')
        .trim() === ''
    if (isEmpty) found.push(`src/${name.replaceAll('\\', '/').replace(/js$/, 'ts')}`)
  }
  return found
}

/**
 * Keeps what ran of this build. The rest is of packages and Node.js, which would take c8 minutes, or of programs that ran a
 * source through tsx: its positions are others, and one position can only count for one text.
 */
async function keepOurs(directory: string, build: string): Promise<void> {
  const lengths = new Map<string, string>()
  const isOfBuild = async (url: string, map: SourceMapEntry | undefined) => {
    if (!OURS.test(url) || !map) return false
    if (!lengths.has(url)) {
      const path = join(build, fileURLToPath(url).slice(root.length).replace(/\.ts$/, '.js'))
      const lines = (await readFile(path, 'utf8')).split('\n').map(line => line.length)
      lengths.set(url, lines.join())
    }
    return map.lineLengths.join() === lengths.get(url)
  }
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    const recorded = await readFile(path, 'utf8')
      .then(JSON.parse)
      .catch(() => undefined)
    // A process that is killed while it writes leaves half a file.
    const maps: Record<string, SourceMapEntry> = recorded?.['source-map-cache'] ?? {}
    const result: { url: string }[] = []
    for (const script of recorded?.result ?? []) if (await isOfBuild(script.url, maps[script.url])) result.push(script)
    if (result.length === 0) {
      await rm(path)
      continue
    }
    const kept = Object.fromEntries(result.map(({ url }) => [url, maps[url]]))
    await writeFile(path, JSON.stringify({ result, 'source-map-cache': kept }))
  }
}

function percent(value: number): string {
  return value.toFixed(1).padStart(7)
}

/** For example 12,40-44 */
function uncovered({ statementMap, s }: FileCoverage): string {
  const lines = Object.entries(s)
    .filter(([, count]) => count === 0)
    .map(([id]) => statementMap[id]!.start.line)
    .sort((a, b) => a - b)
  const ranges: [number, number][] = []
  for (const line of lines) {
    const last = ranges.at(-1)
    if (last && line <= last[1] + 1) last[1] = line
    else ranges.push([line, line])
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',')
}
