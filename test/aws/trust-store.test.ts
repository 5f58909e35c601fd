/** The download from AWS's trust store, against a server in the same process. */
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { bundleUrl, download, GLOBAL_BUNDLE_URL } from '../../src/aws/trust-store.ts'
import { createTestClock } from '../support/clock.ts'
import { startTrustStore, TRUST_STORE } from '../support/trust-store-server.ts'

const URL_OF_BUNDLE = `https://${TRUST_STORE}/il-central-1/il-central-1-bundle.pem`

/** What `download` makes of this answer. */
async function downloadFrom(t: Test, answer: RequestListener, maxBytes = 100, url = URL_OF_BUNDLE): Promise<string> {
  const { connection } = await startTrustStore(t, answer)
  return await download(url, { maxBytes, connection })
}

test('the URLs that AWS documents', async t => {
  t.equal(bundleUrl('il-central-1'), URL_OF_BUNDLE)
  t.equal(
    bundleUrl('us-gov-east-1'),
    'https://truststore.pki.us-gov-west-1.rds.amazonaws.com/us-gov-east-1/us-gov-east-1-bundle.pem',
  )
  t.equal(
    bundleUrl('cn-northwest-1'),
    'https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/cn-northwest-1/cn-northwest-1-bundle.pem',
  )
  t.equal(GLOBAL_BUNDLE_URL, `https://${TRUST_STORE}/global/global-bundle.pem`)
  for (const region of ['eusc-de-east-1', 'us-iso-east-1', 'us-isob-east-1', 'eu-isoe-west-1', '../x-y-1', '']) {
    t.equal(bundleUrl(region), undefined, region)
  }
})

test('a download', async t => {
  const { connection, requests } = await startTrustStore(t, (_request, response) => {
    response.write('first ')
    response.end('second')
  })
  const clock = createTestClock()
  t.equal(await download(URL_OF_BUNDLE, { maxBytes: 12, connection, clock }), 'first second')
  t.match(requests, [
    /^GET https:\/\/truststore\.pki\.rds\.amazonaws\.com(:\d+)?\/il-central-1\/il-central-1-bundle\.pem$/,
  ])
  t.equal(clock.pending(), 0)
})

const answers: [what: string, answer: RequestListener, message: RegExp][] = [
  [
    'a redirect to another host',
    (_request, response) => response.writeHead(302, { location: 'https://portal.example/login?x=1' }).end(),
    /: refused to follow a redirect \(HTTP 302\) to portal\.example$/,
  ],
  [
    'a redirect to another path',
    (_request, response) => response.writeHead(301, { location: '/elsewhere' }).end(),
    /: refused to follow a redirect \(HTTP 301\) to another path$/,
  ],
  ['a region without a bundle', (_request, response) => response.writeHead(403).end(), /no such bundle \(HTTP 403\)$/],
  ['a missing file', (_request, response) => response.writeHead(404).end('none'), /no such bundle \(HTTP 404\)$/],
  ['an error of the server', (_request, response) => response.writeHead(503).end(), /\.pem: HTTP 503$/],
  ['no content', (_request, response) => response.writeHead(204).end(), /\.pem: HTTP 204$/],
  [
    'an answer that says that it is too large',
    (_request, response) => response.writeHead(200, { 'content-length': 101 }).end('x'.repeat(101)),
    /: the answer is larger than 100 bytes$/,
  ],
  [
    'an answer that is too large',
    (_request, response) => {
      response.write('x'.repeat(60))
      response.end('x'.repeat(60))
    },
    /: the answer is larger than 100 bytes$/,
  ],
  [
    'an answer that is shorter than it says',
    (_request, response) => {
      response.writeHead(200, { 'content-length': 90 })
      response.write('short', () => response.destroy())
    },
    /: the answer ended too early$/,
  ],
  [
    'an answer without its last chunk',
    (_request, response) => response.write('short', () => response.destroy()) as never,
    /: the answer ended too early$/,
  ],
  ['no answer', (_request, response) => response.destroy(), /: ECONNRESET$/],
]

for (const [what, answer, message] of answers) {
  test(`${what}: refused`, async t => {
    await t.rejects(downloadFrom(t, answer), { name: 'ProxyError', code: 'TRUST_UPDATE_FAILED', message })
  })
}

test('a server without a valid certificate, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async t => {
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  process.removeAllListeners('warning')
  t.teardown(() => {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  })
  const answer: RequestListener = (_request, response) => response.end('never')
  const unknown = await startTrustStore(t, answer)
  const { ca: _ca, ...withoutCa } = unknown.connection
  const ask = (connection: typeof unknown.connection) => download(URL_OF_BUNDLE, { maxBytes: 100, connection })
  await t.rejects(ask(withoutCa), { code: 'TRUST_UPDATE_FAILED', message: /UNABLE_TO_VERIFY_LEAF_SIGNATURE/ })
  const other = await startTrustStore(t, answer, 'portal.example')
  await t.rejects(ask(other.connection), { code: 'TRUST_UPDATE_FAILED', message: /ERR_TLS_CERT_ALTNAME_INVALID/ })
  t.same([unknown.requests, other.requests], [[], []])
})

/** Environment variables for one test. */
function setEnvironment(t: Test, variables: Record<string, string>): void {
  const kept = { ...process.env }
  for (const name of Object.keys(kept)) if (/^(https?|no)_proxy$|^AWS_|^REQUESTS_/i.test(name)) delete process.env[name]
  Object.assign(process.env, { AWS_CONFIG_FILE: '/no-such-home/config', ...variables })
  t.teardown(() => {
    process.env = kept
  })
}

test('by default as all calls to AWS: through HTTPS_PROXY, and with the authority of AWS_CA_BUNDLE', async t => {
  const { connection, requests } = await startTrustStore(t, (_request, response) => response.end('a bundle'))
  const targets: string[] = []
  const proxy = createServer()
  proxy.on('connect', (request, client: Socket) => {
    targets.push(request.url ?? '')
    const server = connect(Number(connection.port), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      server.pipe(client).pipe(server)
    })
    for (const socket of [server, client]) socket.on('error', () => {})
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  const { port } = proxy.address() as AddressInfo
  const folder = t.testdir({ 'ca.pem': String(connection.ca) })
  setEnvironment(t, { HTTPS_PROXY: `http://127.0.0.1:${port}`, AWS_CA_BUNDLE: join(folder, 'ca.pem') })
  t.equal(await download(URL_OF_BUNDLE, { maxBytes: 100 }), 'a bundle')
  t.same(targets, [`${TRUST_STORE}:443`])
  t.equal(requests.length, 1)

  setEnvironment(t, { HTTPS_PROXY: `http://127.0.0.1:${port}` })
  await t.rejects(download(URL_OF_BUNDLE, { maxBytes: 100 }), { code: 'AWS_TLS_UNTRUSTED' })
  setEnvironment(t, { AWS_CA_BUNDLE: join(folder, 'missing.pem') })
  await t.rejects(download(URL_OF_BUNDLE, { maxBytes: 100 }), { code: 'AWS_ENVIRONMENT_INVALID' })
  t.equal(requests.length, 1, 'an untrusted server gets no request')
})

test('an unreachable server', async t => {
  const connection = { port: 1, lookup: (await startTrustStore(t, () => {})).connection.lookup }
  await t.rejects(download(URL_OF_BUNDLE, { maxBytes: 1, connection }), { message: /: ECONNREFUSED$/ })
})

test('an answer that never ends, and a caller that gives up', async t => {
  const clock = createTestClock()
  let asked = () => {}
  const { connection } = await startTrustStore(t, (_request, response) => {
    response.write('x')
    asked()
  })
  const isAsked = () => new Promise<void>(resolve => (asked = resolve))
  let reached = isAsked()
  const late = t.rejects(download(URL_OF_BUNDLE, { maxBytes: 9, connection, clock }), {
    code: 'TRUST_UPDATE_FAILED',
    message: /: no complete answer within 15 s$/,
  })
  await reached
  clock.advance(15_000)
  await late

  reached = isAsked()
  const giveUp = new AbortController()
  const aborted = t.rejects(download(URL_OF_BUNDLE, { maxBytes: 9, connection, clock, signal: giveUp.signal }), {
    code: 'TRUST_UPDATE_FAILED',
  })
  await reached
  giveUp.abort()
  await aborted
  t.equal(clock.pending(), 0)
})
