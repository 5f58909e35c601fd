/** Traces as OpenTelemetry's variables ask for them: from the process to a receiver. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { test } from 'tap'
import { startTracesAsSet } from '../../src/commands/start-traces.ts'
import { silent } from '../../src/log.ts'
import { freePort } from '../support/free-port.ts'
import { realServer } from '../support/mariadb.ts'
import { attributesOf, startCollector } from '../support/otlp-collector.ts'
import { PROGRAM } from '../support/program.ts'
import { connect, until } from '../support/raw-client.ts'

test('nothing is started without the variables, or for another exporter', async t => {
  const lines: string[] = []
  const log = { ...silent, warn: (_fields: object, message: string) => lines.push(message) }
  t.equal(await startTracesAsSet({}, log), undefined)
  t.equal(await startTracesAsSet({ OTEL_TRACES_EXPORTER: 'none' }, log), undefined)
  t.same(lines, [])
  t.equal(await startTracesAsSet({ OTEL_TRACES_EXPORTER: 'console' }, log), undefined)
  t.same(lines, ['traces are off: OTEL_TRACES_EXPORTER=console is unsupported; use otlp'])
})

test('https goes through the agent of all calls', async t => {
  const environment = {
    OTEL_TRACES_EXPORTER: 'otlp',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'https://user:secret@collector.test',
  }
  const lines: string[] = []
  const log = { ...silent, info: (_fields: object, message: string) => lines.push(message) }
  const traces = await startTracesAsSet(environment, log)
  t.same(lines, ['traces of logins go to https://collector.test/v1/traces'])
  await traces?.close()
})

test('a login of a real process arrives as a trace, without a secret', async t => {
  const server = await realServer(t)
  const collector = await startCollector(t)
  const directory = t.testdir({})
  await writeFile(`${directory}/ca.pem`, server.ca)
  const port = await freePort()
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const [command, ...programArguments] = PROGRAM
  const args = [
    ...['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`],
    ...['--ca', `${directory}/ca.pem`, '--listen', `127.0.0.1:${port}`],
  ]
  const child = execFile(command, [...programArguments, ...args], {
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: process.env['NODE_OPTIONS'],
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
      OTEL_TRACES_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_SERVICE_NAME: 'orders-db',
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  let log = ''
  child.stdout?.on('data', text => {
    log += text
  })
  await until('it listens', () => log.includes('listening on'))
  await (await connect({ host: '127.0.0.1', port })).end()
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  t.same(await exited, [143, null])
  const spans = collector.spans()
  t.match(new Set(spans.map(({ name }) => name)), new Set(['mysql login', 'dial', 'token', 'tls', 'login']))
  t.equal(collector.resource()['service.name'], 'orders-db')
  const root = spans.find(({ name }) => name === 'mysql login')!
  const { 'mysql_iam_proxy.session': session } = attributesOf(root)
  t.match(log, `"session":"${session}"`, 'the log has the same session')
  t.match(log, 'traces of logins go to')
  const all = collector.requests.map(({ body }) => body).join('')
  for (const secret of [secretAccessKey, accessKeyId, 'X-Amz-']) t.notOk(all.includes(secret), 'no secret')
})
