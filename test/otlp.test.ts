import { Agent } from 'node:https'
import { createServer } from 'node:net'
import { type Test, test } from 'tap'
import { loggerOf, silent } from '../src/log.ts'
import { createSpanExporter, encode, type OtlpSettings, readOtlpSettings, SPAN_KIND, type Span } from '../src/otlp.ts'
import { createTestClock } from './support/clock.ts'
import { type Collector, startCollector } from './support/otlp-collector.ts'
import { until } from './support/raw-client.ts'

const ON = { OTEL_TRACES_EXPORTER: 'otlp' }

function settingsOf(environment: Record<string, string>): OtlpSettings {
  const settings = readOtlpSettings({ ...ON, ...environment }, '1.2.3')
  if (!settings || 'problem' in settings) throw new Error(settings?.problem ?? 'off')
  return settings
}

test('off by default, and where the variables say so', t => {
  for (const environment of [
    {},
    { OTEL_TRACES_EXPORTER: '' },
    { OTEL_TRACES_EXPORTER: 'none' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' },
    { ...ON, OTEL_SDK_DISABLED: 'TRUE' },
  ]) {
    t.equal(readOtlpSettings(environment, '1.2.3'), undefined, JSON.stringify(environment))
  }
  t.end()
})

test('where spans go: the base address gets a path, the address of traces stays', t => {
  const urls: [environment: Record<string, string>, url: string][] = [
    [{}, 'http://localhost:4318/v1/traces'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' }, 'http://c:4318/v1/traces'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c/base/' }, 'https://c/base/v1/traces'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://t:1/x' }, 'http://t:1/x'],
  ]
  for (const [environment, url] of urls) t.equal(settingsOf(environment).url.href, url)
  t.end()
})

test('headers, resource, timeout and sampler', t => {
  t.match(settingsOf({}), {
    headers: {},
    timeout: 10_000,
    ratio: 1,
    resource: { 'service.name': 'mysql-iam-proxy', 'service.version': '1.2.3' },
  })
  const found = settingsOf({
    OTEL_EXPORTER_OTLP_HEADERS: 'api-key = a%20b , x=1=2,',
    OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=prod,service.name=other',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
  })
  t.same(found.headers, { 'api-key': 'a b', x: '1=2' })
  t.match(found, { timeout: 500, ratio: 0.25 })
  t.match(found.resource, { 'service.name': 'other', 'deployment.environment.name': 'prod' })
  const own = { OTEL_SERVICE_NAME: 'db', OTEL_RESOURCE_ATTRIBUTES: 'service.name=other' }
  t.match(settingsOf(own).resource, { 'service.name': 'db' })
  t.equal(settingsOf({ OTEL_TRACES_SAMPLER: 'always_off' }).ratio, 0)
  t.equal(settingsOf({ OTEL_TRACES_SAMPLER: 'parentbased_always_on', OTEL_TRACES_SAMPLER_ARG: 'x' }).ratio, 1)
  t.end()
})

test('what cannot be followed is a problem, which names the variable but no value that may be secret', t => {
  const problems: [environment: Record<string, string>, problem: RegExp][] = [
    [{ OTEL_TRACES_EXPORTER: 'zipkin' }, /^OTEL_TRACES_EXPORTER=zipkin is unsupported; use otlp$/],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, /^OTEL_EXPORTER_OTLP_PROTOCOL=grpc is unsupported; use http\/json/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'secret' }, /^OTEL_EXPORTER_OTLP_ENDPOINT is not a URL/],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://secret:x' }, /^OTEL_EXPORTER_OTLP_ENDPOINT is not a URL/],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'secret' }, /^OTEL_EXPORTER_OTLP_HEADERS or /],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'a=secret%' }, /^OTEL_EXPORTER_OTLP_HEADERS or /],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'authorization=secret%0A' }, /^OTEL_EXPORTER_OTLP_HEADERS has a header that HTTP /],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'a:b=secret' }, /^OTEL_EXPORTER_OTLP_HEADERS has a header that HTTP /],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: 'x' }, /^OTEL_EXPORTER_OTLP_TIMEOUT /],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: 'Infinity' }, /^OTEL_EXPORTER_OTLP_TIMEOUT /],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: '3000000000' }, /^OTEL_EXPORTER_OTLP_TIMEOUT /],
    [{ OTEL_TRACES_SAMPLER: 'jaeger_remote' }, /^OTEL_TRACES_SAMPLER /],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' }, /^OTEL_TRACES_SAMPLER /],
  ]
  for (const [environment, problem] of problems) {
    const found = readOtlpSettings({ ...ON, ...environment }, '1.2.3')
    t.match(found, { problem })
    t.notMatch(JSON.stringify(found), 'secret')
  }
  t.end()
})

function makeSpan(name: string): Span {
  return {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    name,
    kind: SPAN_KIND.server,
    start: 1_700_000_000_000.25,
    end: 1_700_000_000_001.5,
    attributes: { port: 3306, text: 'é', missing: undefined },
    error: undefined,
  }
}

test('the encoding of spans', t => {
  const body = encode({ 'service.name': 'x' }, [makeSpan('one'), { ...makeSpan('two'), error: 'DIAL_TIMEOUT' }])
  const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } })
  const common = {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    kind: 2,
    startTimeUnixNano: '1700000000000250000',
    endTimeUnixNano: '1700000000001500000',
  }
  const attributes = [{ key: 'port', value: { intValue: '3306' } }, attribute('text', 'é')]
  t.same(JSON.parse(body), {
    resourceSpans: [
      {
        resource: { attributes: [attribute('service.name', 'x')] },
        scopeSpans: [
          {
            scope: { name: 'mysql-iam-proxy' },
            spans: [
              { ...common, name: 'one', attributes, status: {} },
              {
                ...common,
                name: 'two',
                attributes: [...attributes, attribute('error.type', 'DIAL_TIMEOUT')],
                status: { code: 2, message: 'DIAL_TIMEOUT' },
              },
            ],
          },
        ],
      },
    ],
  })
  t.end()
})

/** An exporter on a test clock, with its log. */
function start(url: string, environment: Record<string, string> = {}) {
  const lines: { level: string; fields: object; message: string }[] = []
  const at = (level: string) => (fields: object, message: string) => lines.push({ level, fields, message })
  const log = loggerOf(at)
  const clock = createTestClock()
  const settings = settingsOf({ OTEL_EXPORTER_OTLP_ENDPOINT: url, ...environment })
  return { exporter: createSpanExporter(settings, log, undefined, clock), lines, clock }
}

const names = (collector: Collector) => collector.spans().map(({ name }) => name)

test('spans are sent together after a while, with the headers', async t => {
  const collector = await startCollector(t)
  const { exporter, clock, lines } = start(collector.url, { OTEL_EXPORTER_OTLP_HEADERS: 'api-key=k' })
  exporter.add([makeSpan('one')])
  exporter.add([makeSpan('two'), makeSpan('three')])
  clock.advance(4_999)
  t.equal(collector.requests.length, 0)
  clock.advance(1)
  await until('they arrive', () => collector.requests.length === 1)
  t.same(names(collector), ['one', 'two', 'three'])
  t.match(collector.requests[0], {
    path: '/v1/traces',
    headers: { 'content-type': 'application/json', 'api-key': 'k' },
  })
  t.match(collector.resource(), { 'service.name': 'mysql-iam-proxy' })
  await exporter.close()
  t.equal(collector.requests.length, 1, 'nothing is left to send')
  t.same(lines, [])
})

/** Lets time pass until `done`. */
async function runUntil(what: string, clock: { advance(milliseconds: number): void }, done: () => boolean) {
  await until(what, () => {
    clock.advance(5_000)
    return done()
  })
}

test('a receiver that is overloaded gets the same spans later; the log says so once', async t => {
  const collector = await startCollector(t)
  collector.answer = 503
  const { exporter, clock, lines } = start(collector.url)
  exporter.add([makeSpan('one')])
  await runUntil('three attempts', clock, () => collector.requests.length >= 3)
  collector.answer = 200
  await runUntil('it is sent', clock, () => lines.length === 2)
  const { host } = new URL(collector.url)
  t.match(lines, [
    { level: 'warn', message: `traces are not sent: ${host}: HTTP status 503` },
    { level: 'info', message: `traces are sent again: ${host}`, fields: { dropped: 0 } },
  ])
  t.equal(new Set(collector.requests.map(({ body }) => body)).size, 1)
})

test('a receiver that refuses them gets them once', async t => {
  const collector = await startCollector(t)
  collector.answer = 400
  const { exporter, clock, lines } = start(collector.url)
  exporter.add([makeSpan('one')])
  await runUntil('it is refused', clock, () => lines.length === 1)
  await exporter.close()
  t.equal(collector.requests.length, 1)
  t.match(lines, [{ level: 'warn', message: /HTTP status 400$/, fields: { dropped: 1 } }])
})

test('without a receiver, spans wait in bounded memory', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  const { exporter, clock, lines } = start(`http://127.0.0.1:${port}`)
  for (let i = 0; i < 3_000; i++) exporter.add([makeSpan('x')])
  await runUntil('the problem is logged', clock, () => lines.length === 1)
  t.match(lines, [{ message: /ECONNREFUSED$/, fields: { dropped: 952 } }])
  await exporter.close()
  t.equal(lines.length, 1)
})

test('a receiver that does not answer', async t => {
  const collector = await startCollector(t)
  collector.answer = undefined
  const { exporter, lines, clock } = start(collector.url, { OTEL_EXPORTER_OTLP_TIMEOUT: '50' })
  exporter.add([makeSpan('one')])
  await runUntil('the problem is logged', clock, () => lines.length === 1)
  t.match(lines, [{ message: /no answer in time$/ }])
})

test('an address that no request can have does not end the process', async t => {
  // The user is not UTF-8.
  const { exporter, lines, clock } = start('http://%ff:secret@127.0.0.1:1')
  exporter.add([makeSpan('one')])
  await runUntil('the problem is logged', clock, () => lines.length === 1)
  t.match(lines, [{ message: /: no request is possible \(URIError\)$/, fields: { dropped: 1 } }])
  t.notMatch(JSON.stringify(lines), 'secret')
})

test('the end does not wait for a connection that is not there', async t => {
  // Node.js reports the end of a request only once its agent has a connection.
  const agent = new Agent()
  agent.createConnection = () => undefined
  const connecting = setTimeout(() => {}, 60_000)
  t.teardown(() => clearTimeout(connecting))
  const settings = settingsOf({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://127.0.0.1:1', OTEL_EXPORTER_OTLP_TIMEOUT: '50' })
  const lines: string[] = []
  const exporter = createSpanExporter(settings, { ...silent, warn: (_fields, message) => lines.push(message) }, agent)
  exporter.add([makeSpan('one')])
  await exporter.close()
  t.match(lines, [/no answer in time$/])
})

test('the end sends what waits, on the real clock', async t => {
  const collector = await startCollector(t)
  const exporter = createSpanExporter(settingsOf({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }), silent)
  exporter.add(Array.from({ length: 600 }, (_, index) => makeSpan(String(index))))
  await exporter.close()
  t.equal(collector.requests.length, 2)
  t.equal(names(collector).at(-1), '599')
})

test('the end does not wait for an answer that does not come', async (t: Test) => {
  const collector = await startCollector(t)
  collector.answer = undefined
  const { exporter, clock } = start(collector.url)
  exporter.add([makeSpan('one')])
  clock.advance(5_000)
  await until('it is under way', () => collector.requests.length === 1)
  const closing = exporter.close()
  clock.advance(2_000)
  await closing
  t.pass('it has ended')
})
