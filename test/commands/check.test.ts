import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type Test, test } from 'tap'
import { identity, startAwsApi } from '../support/aws-api.ts'
import { setEnvironment } from '../support/check.ts'
import { type RealServer, realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'

const ENDPOINT = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

/** Runs the command line to its end, in the environment of this process. */
async function run(t: Test, args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

function environmentFor(t: Test, server: RealServer): string[] {
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const ca = `${t.testdir({ 'ca.pem': server.ca })}/ca.pem`
  setEnvironment(t, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey })
  return ['--rds-endpoint', server.rdsHost, '--connect', `127.0.0.1:${server.port}`, '--ca', ca]
}

test('check: exit code 0, for people and for scripts', async t => {
  const server = await realServer(t)
  const args = environmentFor(t, server)
  await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me') })
  const forPeople = await run(t, ['check', 'iam_user', '--database', 'lab', ...args])
  t.equal(forPeople.code, 0)
  t.equal(forPeople.stderr, '')
  t.match(forPeople.stdout, /^✓ configuration +\d+ ms$/m)
  t.match(forPeople.stdout, /A login through the whole path and a query succeeded/)
  t.notMatch(forPeople.stdout, '\x1b', 'no colours, and nothing written over, in a file')

  const forScripts = await run(t, ['check', '--json', '--user', 'iam_user', ...args])
  t.equal(forScripts.code, 0)
  t.equal(forScripts.stderr, '')
  t.match(JSON.parse(forScripts.stdout), { ok: true, code: 'OK', exitCode: 0 })
})

test('check --report: prints the report, and writes it', async t => {
  const server = await realServer(t)
  const args = ['check', 'iam_user', ...environmentFor(t, server)]
  await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me') })
  const files = t.testdirName
  const path = `${files}/report.md`
  const { code, stdout, stderr } = await run(t, [...args, '--report', path])
  t.equal(code, 0)
  t.equal(stderr, '')
  const report = await readFile(path, 'utf8')
  t.match(report, /^# Report of mysql-iam-proxy check\n/)
  t.ok(stdout.includes(report), 'it is shown first')
  t.ok(stdout.endsWith(`Written to ${path}.\n`))
  t.notMatch(report, server.rdsHost)

  const both = await run(t, [...args, '--json', '--yes', '--report', path])
  t.match(JSON.parse(both.stdout), { ok: true }, 'standard output has only JSON')
  t.match(both.stderr, /# Report of/)
  const failed = await run(t, [...args, '--report', `${files}/none/report.md`])
  t.equal(failed.code, 2)
  t.match(failed.stderr, /--report .*none\/report\.md: ENOENT/)
})

test('check: the exit code is that of the error', async t => {
  setEnvironment(t)
  const args = ['--rds-endpoint', ENDPOINT, '--connect', 'no-such-nlb.invalid', '--user', 'iam_user']
  const { code, stdout, stderr } = await run(t, ['check', ...args])
  t.equal(code, 4)
  t.equal(stderr, '')
  t.match(stdout, /DIAL_DNS, ERROR 1042, exit code 4/)
})

test('check: errors in the configuration are reported like all others', async t => {
  setEnvironment(t)
  for (const args of [[], ['--rds-endpoint', ENDPOINT, '--login-timeout', '5'], ['--rds-endpoint', ENDPOINT]]) {
    const { code, stdout } = await run(t, ['check', '--json', ...args])
    t.equal(code, 2, args.join(' '))
    t.match(JSON.parse(stdout), { ok: false, code: 'CONFIG_INVALID', exitCode: 2, steps: [{ step: 'configuration' }] })
  }
})

test('explain, on the command line', async t => {
  setEnvironment(t)
  const found = await run(t, ['explain', '1045'])
  t.equal(found.code, 0)
  t.match(found.stdout, /^ER_ACCESS_DENIED_ERROR/)
  const missing = await run(t, ['explain', 'nonsense'])
  t.equal(missing.code, 2)
  t.match(missing.stderr, /there is no error nonsense/)
})

test('check: one endpoint of a configuration file', async t => {
  setEnvironment(t)
  const config = `${t.testdir({
    'proxy.yaml': `user: iam_user
endpoints:
  - { name: shop, rds-endpoint: ${ENDPOINT}, connect: no-such-nlb.invalid, listen: '127.0.0.1:3306' }
  - { name: etl, rds-endpoint: ${ENDPOINT}, connect: another-nlb.invalid, listen: '127.0.0.1:3307' }
`,
  })}/proxy.yaml`
  const chosen = await run(t, ['check', '--json', '--config', config, '--endpoint', 'etl'])
  t.equal(chosen.code, 4)
  t.match(JSON.parse(chosen.stdout), { code: 'DIAL_DNS', error: { message: /another-nlb\.invalid/ } })
  const open = await run(t, ['check', '--json', '--config', config])
  t.equal(open.code, 2)
  t.match(JSON.parse(open.stdout), { code: 'CONFIG_INVALID', error: { message: /^check needs .* shop, etl$/ } })
  for (const [words, message] of [
    [['shpo', 'iam_user'], /^shpo: no such endpoint; there are shop, etl; did you mean shop\?$/],
    [['--endpoint', 'shp'], /^--endpoint: shp: no such endpoint; there are shop, etl; did you mean shop\?$/],
    [['shpo'], /^check needs the name of one endpoint; there are shop, etl; did you mean shop\?$/],
  ] as const) {
    const mistyped = await run(t, ['check', '--json', '--config', config, ...words])
    t.match(JSON.parse(mistyped.stdout), { code: 'CONFIG_INVALID', error: { message } }, words.join(' '))
  }
})

test('check: the mistakes of a configuration file keep their lines and marks', async t => {
  const config = `${t.testdir({ 'a.yaml': `endpoints:\n  - rds-endpoint: ${ENDPOINT}\n    usr: a\n    lisen: b\n` })}/a.yaml`
  const { code, stdout } = await run(t, ['check', 'iam_user', '--config', config])
  t.equal(code, 2)
  const [, ofFirst, ofSecond] = stdout.split('a.yaml:')
  t.match(ofFirst, /^3:5:(.|\n)*key; did you\s+mean user\?\n +3 \| {5}usr: …\n +\| {5}\^\n/)
  t.match(ofSecond, /^4:5: .*lisen: unknown key; did you mean listen\?\n +4 \| {5}lisen: b\n +\| {5}\^\n/)
})
