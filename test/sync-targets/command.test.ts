/** The command line in a separate process. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { syncTargets } from '../../src/commands/sync-targets.ts'
import { namesOfSettings, resolveSettings } from '../../src/config/settings.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { FAULTS, startElb, TARGET_GROUP } from '../support/elb.ts'
import { freePort } from '../support/free-port.ts'
import { PROGRAM } from '../support/program.ts'

const HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const root = fileURLToPath(new URL('../..', import.meta.url))

async function start(t: Test) {
  const [elb, dns] = [await startElb(), await startDnsServer()]
  t.teardown(() => Promise.all([elb.close(), dns.close()]))
  elb.healthOfNew = ['healthy']
  const run = (args: string[], until?: RegExp) => {
    const all = ['--rds-endpoint', HOST, '--target-group-arn', TARGET_GROUP, '--resolver', dns.address, ...args]
    return runCommand(all, elb.url, until)
  }
  return { elb, dns, run }
}

async function runCommand(args: string[], elbUrl: string, until?: RegExp) {
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, 'sync-targets', ...args], {
    cwd: root,
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: process.env['NODE_OPTIONS'],
      AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elbUrl,
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests',
      MYSQL_IAM_PROXY_CONFIRMATIONS: '1',
    },
  })
  let [stdout, stderr, reached] = ['', '', false]
  child.stdout.on('data', data => {
    stdout += data
    if (!until || reached || !until.test(stdout)) return
    reached = true
    child.kill('SIGTERM')
  })
  child.stderr.on('data', data => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

test('exit codes of unchanged, changed and refused', async t => {
  const { elb, dns, run } = await start(t)
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.1'] })
  t.match(await run([]), { code: 0 })
  dns.answer({ addresses: ['10.0.0.2'] })
  const changed = await run(['--json'])
  t.equal(changed.code, 10)
  t.match(JSON.parse(changed.stdout), { outcome: 'changed', registered: ['10.0.0.2'], deregistered: ['10.0.0.1'] })
  t.match(changed.stderr, /deregistered 10\.0\.0\.1/, 'with --json the log is elsewhere')
  dns.answer('SERVFAIL')
  const refused = await run(['--json'])
  t.match(refused, {
    code: 11,
    stderr:
      /changed nothing: .* was not resolved: ESERVFAIL.*\nCheck the name servers .*: dig database-1\..*\. The next run/,
  })
  t.match(JSON.parse(refused.stdout), {
    outcome: 'refused',
    code: 'SYNC_REFUSED',
    reason: /ESERVFAIL/,
    hint: /dig database-1/,
  })
  const live = elb.targets.filter(({ state }) => state !== 'draining')
  t.match(live, [{ address: '10.0.0.2', state: 'healthy' }])
  t.equal(live.length, 1)
})

test('the exit code of targets that are not healthy', async t => {
  const { elb, dns, run } = await start(t)
  dns.answer({ addresses: ['10.0.0.1'] })
  elb.healthOfNew = ['unused']
  const registered = await run([])
  t.equal(registered.code, 12)
  t.match(registered.stderr, /registered 10\.0\.0\.1, but the load balancer .*10\.0\.0\.1:3306 is unused/)
  t.match(registered.stderr, /Let a TCP listener of the NLB forward to this target group/)
  const unchanged = await run(['--json'])
  t.equal(unchanged.code, 12, 'the next pass says so too')
  t.match(JSON.parse(unchanged.stdout), { outcome: 'unhealthy', code: 'SYNC_UNHEALTHY', registered: [] })
  const preview = await run(['--dry-run'])
  t.match(preview, { code: 12, stdout: /unused\nnothing to do, but not healthy: 10\.0\.0\.1:3306 is unused/ })
})

test('--dry-run prints the planned changes', async t => {
  const { elb, dns, run } = await start(t)
  elb.add('10.0.0.1')
  elb.add('10.0.0.9')
  elb.add('10.0.0.1', 3307)
  dns.answer({ addresses: ['10.0.0.2'] })
  const { code, stdout } = await run(['--dry-run', '--keep-target', '10.0.0.9'])
  t.equal(code, 10)
  t.match(stdout, /^\+ 10\.0\.0\.2:3306 +to be registered$/m)
  t.match(stdout, /^- 10\.0\.0\.1:3306 +healthy +to be deregistered/m)
  t.match(stdout, /^ {2}10\.0\.0\.9:3306 +healthy +kept$/m)
  t.match(stdout, /^ {2}10\.0\.0\.1:3307 +healthy +left alone: another port$/m)
  t.notOk(
    elb.calls.some(call => /^(De)?[rR]egister/.test(call)),
    'nothing was changed',
  )
})

test('--watch runs until a signal stops it', async t => {
  const { elb, dns, run } = await start(t)
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.2'] })
  const { code, stdout } = await run(['--watch', '--interval', '100ms', '--json'], /"outcome":"changed"/)
  t.equal(code, 143)
  t.equal(JSON.parse(stdout.split('\n')[0] ?? '').outcome, 'unchanged')
})

test('--watch with --admin-listen: health and metrics', async t => {
  const { elb, dns } = await start(t)
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.1'] })
  const port = await freePort()
  const environment = { AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elb.url, AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE' }
  Object.assign(process.env, environment, { AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests' })
  const given = { 'rds-endpoint': HOST, 'target-group-arn': TARGET_GROUP, resolver: [dns.address], confirmations: '1' }
  const flags = { ...given, watch: true, interval: '100ms', 'admin-listen': `127.0.0.1:${port}`, 'log-level': 'error' }
  const stop = new AbortController()
  const watching = syncTargets(resolveSettings(flags, {}), namesOfSettings(flags, {}), () => {}, stop.signal)
  t.teardown(() => stop.abort())
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`).catch(() => undefined)
    return { status: response?.status, text: (await response?.text()) ?? '' }
  }
  const until = async (path: string, isSo: (answer: { status: number | undefined; text: string }) => boolean) => {
    for (;;) {
      const answer = await get(path)
      if (isSo(answer)) return answer
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
  await until('/readiness', ({ status }) => status === 200)
  const passes = (outcome: string) =>
    new RegExp(`sync_passes_total\\{endpoint="${HOST}:3306",outcome="${outcome}"\\} [1-9]`)
  const { text } = await until('/metrics', ({ text }) => passes('unchanged').test(text))
  t.match(text, /sync_last_pass_timestamp_seconds\{endpoint="[^"]*"\} \d{10}/)
  for (let fault = 0; fault < 1_000; fault++) elb.faults.push({ fault: FAULTS.denied })
  t.match(await until('/readiness', ({ status }) => status === 503), { text: /the last pass of sync-targets failed/ })
  t.match((await get('/metrics')).text, passes('failed'))
  t.equal((await get('/liveness')).status, 200)
  stop.abort()
  await watching
})

test('an action that IAM does not allow', async t => {
  const { elb, run } = await start(t)
  elb.faults.push({ fault: FAULTS.denied })
  t.match(await run([]), { code: 3, stderr: /elasticloadbalancing:DescribeTargetGroups in the IAM policy/ })
})

test('invalid options are refused at once', async t => {
  const command = async (flags: object) => {
    const given = { 'target-group-arn': TARGET_GROUP, 'rds-endpoint': HOST, ...flags }
    return await syncTargets(
      resolveSettings(given, {}),
      namesOfSettings(given, {}),
      () => {},
      new AbortController().signal,
    )
  }
  const wrong: [flags: object, says: RegExp][] = [
    [{ 'rds-endpoint': undefined }, /--rds-endpoint is missing/],
    [{ 'target-group-arn': undefined }, /--target-group-arn is missing/],
    [{ 'target-group-arn': 'my-database' }, /--target-group-arn: "my-database" is not arn:/],
    [{ confirmations: '0' }, /--confirmations: "0" must be at least 1/],
    [{ resolver: ['dns'] }, /--resolver: "dns"/],
    [{ ca: ['/nowhere.pem'] }, /--ca \/nowhere\.pem: ENOENT/],
    [{ watch: true, 'dry-run': true }, /--watch and --dry-run/],
  ]
  for (const [flags, message] of wrong) await t.rejects(command(flags), { code: 'CONFIG_INVALID', message })
})
