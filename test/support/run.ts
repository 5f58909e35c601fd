/**
 * Runs test files with one MariaDB, one MySQL and one build for all of them:
 * node --import=tsx test/support/run.ts [--coverage] [-t SECONDS] [-j FILES_AT_A_TIME] [test files or directories]
 * With --executable, the programs that tests start are the single executable in dist/release/.
 * With --ci, it does so on several releases of Node.js (versions.ts).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildTests } from './build.ts'
import { prepareCoverage, reportCoverage } from './coverage.ts'
import { serverVariable, startMariadb } from './mariadb.ts'
import { mysqlVariable, type SharedMysql, startMysql } from './mysql.ts'
import { programVariable } from './program.ts'
import { releasedFile } from './released-file.ts'
import { findTestFiles, runTestFiles } from './test-files.ts'

if (process.argv.includes('--ci')) await import('./versions.ts') // exits

const root = fileURLToPath(new URL('../..', import.meta.url))
const { values, positionals } = parseArgs({
  options: {
    coverage: { type: 'boolean' },
    executable: { type: 'boolean' },
    timeout: { type: 'string', short: 't', default: '900' },
    jobs: { type: 'string', short: 'j', default: '2' },
  },
  allowPositionals: true,
})
const files = await findTestFiles(root, positionals.length > 0 ? positionals : ['test'])

const [{ decisions: _decisions, query: _query, stop, ...description }, mysql, build] = await Promise.all([
  startMariadb(),
  sharedMysql(),
  buildTests(),
])
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-run-'))
const coverage = values.coverage ? await prepareCoverage(scratch) : undefined
const program = coverage
  ? // Under the paths of the sources.
    [process.execPath, ...build.nodeArguments, join(root, 'bin/mysql-iam-proxy.ts')]
  : values.executable
    ? [await releasedFile(`linux-${process.arch}`)]
    : [process.execPath, join(build.directory, 'bin/mysql-iam-proxy.js')]
const run = runTestFiles(files, {
  cwd: root,
  nodeArguments: ['--enable-source-maps', ...build.nodeArguments, '--import=./test/support/warnings.mjs'],
  environment: {
    ...process.env,
    [serverVariable]: JSON.stringify(description),
    [mysqlVariable]: JSON.stringify(mysql.shared),
    [programVariable]: JSON.stringify(program),
    // The control channels of the proxies of these tests: neither the user's own proxies nor those of other tests see them.
    RUNTIME_DIRECTORY: scratch,
    ...(coverage ? { NODE_V8_COVERAGE: coverage } : {}),
  },
  jobs: Number(values.jobs),
  limitSeconds: Number(values.timeout),
})
// A terminal's Ctrl-C reaches the tests by itself.
process.on('SIGINT', () => run.stop())
process.on('SIGTERM', () => run.stop('SIGTERM'))

const { passed, failed } = await run.ended
await Promise.all([stop(), mysql.stop()])
const isCovered = !coverage || (await reportCoverage(coverage, build.directory))
await rm(scratch, { recursive: true })
if ('unavailable' in mysql.shared) process.stdout.write(`not run: the tests on MySQL. ${mysql.shared.unavailable}\n`)
// Coverage below the floor is one failure. This line is the last: CI reads it.
process.stdout.write(`\n${passed} passed, ${failed + (isCovered ? 0 : 1)} failed\n`)
// A run without a single assertion has shown nothing.
process.exit(passed > 0 && failed === 0 && isCovered ? 0 : 1)

/** MySQL, or why there is none: such tests are skipped, but never in CI. */
async function sharedMysql(): Promise<{ shared: SharedMysql; stop(): Promise<void> }> {
  try {
    const { decisions: _decisions, query: _query, stop, ...shared } = await startMysql()
    return { shared, stop }
  } catch (error) {
    if (process.env['CI']) throw error
    return { shared: { unavailable: (error as Error).message }, stop: async () => {} }
  }
}
