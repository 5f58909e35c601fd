import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { trackHelpers } from '../../src/aws/helper-processes.ts'
import { until } from '../support/raw-client.ts'

/** A credential_process as the SDK starts it: a shell, and a program that ignores SIGTERM. Both write their process ids. */
const HANGS = `sh -c 'trap "" TERM; echo $$ >> pids; sleep 600'; echo after`

function isRunning(pid: number): boolean {
  try {
    // A zombie that nobody has waited for is not running.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

async function pidsIn(directory: string, count: number): Promise<number[]> {
  let pids: number[] = []
  await until('the helper runs', () => {
    try {
      pids = readFileSync(join(directory, 'pids'), 'utf8').trim().split('\n').map(Number)
    } catch {
      return false
    }
    return pids.length === count
  })
  return pids
}

/** As the SDK does it. */
function runHelper(cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('/bin/sh', ['-c', HANGS], { cwd }, (error, stdout) => (error ? reject(error) : resolve(stdout)))
  })
}

test('kill ends the programs of one lookup, with their children', async t => {
  const [first, second] = [t.testdir({ one: {}, two: {} }), `${t.testdirName}/two`]
  const [one, two] = [trackHelpers(), trackHelpers()]
  const results = [one.during(() => runHelper(`${first}/one`)), two.during(() => runHelper(second))]
  const [ofOne] = await pidsIn(`${first}/one`, 1)
  const [ofTwo] = await pidsIn(second, 1)
  one.kill()
  await t.rejects(results[0]!)
  await until('the program has ended', () => !isRunning(ofOne!))
  t.ok(isRunning(ofTwo!), 'another lookup goes on')
  two.kill()
  await t.rejects(results[1]!)
  await until('the other program has ended', () => !isRunning(ofTwo!))
})

test('programs that are not of a lookup are not touched', async t => {
  const child = spawn('sleep', ['600'])
  t.teardown(() => child.kill())
  const helpers = trackHelpers()
  await helpers.during(async () => {})
  helpers.kill()
  t.ok(isRunning(child.pid!))
})

test('the programs of a lookup are known, although another lookup has ended', async t => {
  const helpers = trackHelpers()
  let goOn = () => {}
  const otherHasEnded = new Promise<void>(resolve => {
    goOn = resolve
  })
  const directory = t.testdir({})
  const result = helpers.during(async () => {
    await otherHasEnded
    return await runHelper(directory)
  })
  await trackHelpers().during(async () => {})
  goOn()
  const [pid] = await pidsIn(directory, 1)
  t.ok(helpers.kill())
  await t.rejects(result)
  await until('the program has ended', () => !isRunning(pid!))
})

test('nothing stays when the process exits', async t => {
  const directory = t.testdir({})
  const module = new URL('../../src/aws/helper-processes.ts', import.meta.url).href
  const code = `
    import { exec } from 'node:child_process'
    const { trackHelpers } = await import(${JSON.stringify(module)})
    trackHelpers().during(async () => exec(${JSON.stringify(HANGS)}, { cwd: ${JSON.stringify(directory)} }))
    process.stdin.once('data', () => process.exit(0))`
  const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', code])
  const [pid] = await pidsIn(directory, 1)
  child.stdin.write('end\n')
  t.same(await once(child, 'exit'), [0, null])
  await until('the helper has ended', () => !isRunning(pid!))
})
