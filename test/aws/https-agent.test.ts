import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpsServer, request } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import { type AwsAgent, createAwsAgent, proxyFor } from '../../src/aws/https-agent.ts'
import { hintFor } from '../../src/errors.ts'
import { createCertificate } from '../../src/x509.ts'
import { authorityOf, certificateBy } from '../support/authorities.ts'
import { failureOf } from '../support/failure-of.ts'
import { listen, startHttpProxy } from '../support/forward-proxy.ts'
import { freePort } from '../support/free-port.ts'

const LOADER = ['--import=tsx', '--input-type=module', '--eval']

const HOST = 'sts.eu-west-1.amazonaws.com'

/** An HTTPS server with a certificate for `names` of an authority that only `ca` knows. */
async function startAws(t: Test, names = [HOST], name = 'the CA of a company') {
  const authority = await authorityOf(name)
  const { certificate, key } = await certificateBy(name, names)
  const paths: string[] = []
  const server = createHttpsServer({ cert: certificate, key }, (incoming, outgoing) => {
    paths.push(incoming.url ?? '')
    outgoing.setHeader('content-type', 'application/json').end('hello')
  })
  const serverNames: (string | false | null)[] = []
  const protocols: (string | false | null)[] = []
  server.on('secureConnection', ({ servername, alpnProtocol }) => {
    serverNames.push(servername)
    protocols.push(alpnProtocol)
  })
  return { port: await listen(t, server), ca: fileOf(t, authority.certificate), paths, serverNames, protocols }
}

/** A new file with this text; its path. */
function fileOf(t: Test, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'https-agent-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'file'), text)
  return join(directory, 'file')
}

/** The text at https://`host`, through `agent`. */
async function get(agent: AwsAgent, host = HOST, port = 443): Promise<string> {
  const sent = request({ host, port, path: '/', agent }).end()
  const [response] = await once(sent, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  return text
}

function agentFor(t: Test, environment: NodeJS.ProcessEnv, profile?: string): AwsAgent {
  const agent = createAwsAgent({ profile, environment: { AWS_CONFIG_FILE: '/no-such-file', ...environment } })
  t.teardown(() => agent.destroy())
  return agent
}

test('a call goes through the proxy of HTTPS_PROXY, and trusts the CA of AWS_CA_BUNDLE', async t => {
  const aws = await startAws(t)
  const proxy = await startHttpProxy(t, aws)
  const HTTPS_PROXY = `http://us%40er:hunter2@${proxy.address}`
  const agent = agentFor(t, { HTTPS_PROXY, AWS_CA_BUNDLE: aws.ca })
  t.equal(await get(agent), 'hello')
  t.same(proxy.targets, [`${HOST}:443`], 'the proxy resolves the name')
  t.same(proxy.logins, ['us@er:hunter2'])
  t.same(aws.serverNames, [HOST])
  t.same(aws.protocols, ['http/1.1'], 'asked for with ALPN')
  t.same(agent.route, { proxy: `http://${proxy.address} (HTTPS_PROXY)`, caBundle: `AWS_CA_BUNDLE=${aws.ca}` })
  t.equal(await get(agent), 'hello')
  t.equal(proxy.targets.length, 1, 'the connection is used again')
})

test('which proxy is asked: the rules of the AWS CLI', t => {
  const target = { host: HOST, port: 443 }
  const shown = (environment: NodeJS.ProcessEnv, to = target) => proxyFor(to, environment)?.shown
  const HTTPS_PROXY = 'http://proxy.corp:3128'
  t.equal(shown({}), undefined)
  t.equal(shown({ HTTP_PROXY: HTTPS_PROXY, ALL_PROXY: HTTPS_PROXY }), undefined, 'only the variable for https URLs')
  t.equal(shown({ HTTPS_PROXY }), 'http://proxy.corp:3128 (HTTPS_PROXY)')
  t.equal(shown({ HTTPS_PROXY, https_proxy: 'http://low:1' }), 'http://low:1 (https_proxy)')
  t.equal(shown({ HTTPS_PROXY, https_proxy: '' }), undefined, 'an empty lower-case variable turns it off')
  t.equal(shown({ HTTPS_PROXY: 'proxy.corp:3128' }), 'http://proxy.corp:3128 (HTTPS_PROXY)')
  t.equal(shown({ HTTPS_PROXY: '//proxy.corp' }), 'http://proxy.corp:80 (HTTPS_PROXY)')
  t.equal(shown({ HTTPS_PROXY: 'https://u:p@proxy.corp' }), 'https://proxy.corp:443 (HTTPS_PROXY)')
  t.equal(shown({ HTTPS_PROXY: 'socks5h://u:p@proxy.corp' }), 'socks5://proxy.corp:1080 (HTTPS_PROXY)')
  t.equal(shown({ HTTPS_PROXY: 'http://[fd00::1]:3128/' }), 'http://[fd00::1]:3128 (HTTPS_PROXY)')

  const exempt = ['*', HOST, HOST.toUpperCase(), 'amazonaws.com', '.amazonaws.com', 'x.test, .com']
  for (const NO_PROXY of exempt) t.equal(shown({ HTTPS_PROXY, NO_PROXY }), undefined, `exempt: ${NO_PROXY}`)
  for (const NO_PROXY of ['', 'aws.com', '*.amazonaws.com', `${HOST}:443`, `${HOST}:444`, 'x.test,*', '10.0.0.0/8']) {
    t.ok(shown({ HTTPS_PROXY, NO_PROXY }), `not exempt: ${NO_PROXY}`)
  }
  const other = { host: HOST, port: 8443 }
  t.equal(shown({ HTTPS_PROXY, NO_PROXY: `${HOST}:8443` }, other), undefined, 'the port of a URL that has one')
  t.ok(shown({ HTTPS_PROXY, NO_PROXY: '*', no_proxy: '' }), 'no_proxy counts before NO_PROXY')

  const local = ['169.254.169.254', '169.254.170.2', '169.254.170.23', '127.0.0.1', 'localhost', '::1', 'fd00:ec2::254']
  for (const host of local) t.equal(shown({ HTTPS_PROXY }, { host, port: 443 }), undefined, host)
  t.ok(shown({ HTTPS_PROXY }, { host: 'fd00:ec3::1', port: 443 }))
  t.end()
})

test('a variable that is not the URL of a proxy', t => {
  const wrong = [
    'http://',
    'ftp://hunter2@proxy',
    'http://u:hunter2#x@proxy:1',
    'http://hunter2:%zz@proxy',
    'http://proxy/hunter2',
    'http://proxy:0',
    'socks5://hunter2@proxy',
    'proxy.corp//',
  ]
  for (const HTTPS_PROXY of wrong) {
    try {
      proxyFor({ host: HOST, port: 443 }, { HTTPS_PROXY })
      t.fail(HTTPS_PROXY)
    } catch (error) {
      t.match(error, { code: 'AWS_ENVIRONMENT_INVALID', message: /^HTTPS_PROXY: not the URL of a proxy/ }, HTTPS_PROXY)
      t.notMatch((error as Error).message, /hunter2/, 'it may have a password')
    }
  }
  t.end()
})

test('a proxy that refuses, and one that is unreachable', async t => {
  const failures: [answer: string, code: string, says: RegExp][] = [
    ['407 Proxy Authentication Required', 'FORWARD_PROXY_AUTHENTICATION', /requires a user and password: 407 Proxy/],
    [
      '403 Filtered',
      'FORWARD_PROXY_REFUSED',
      /refuses the connection to sts\.eu-west-1\.amazonaws\.com:443: 403 Filtered/,
    ],
    ['503 Service Unavailable', 'FORWARD_PROXY_TARGET', /cannot connect to sts\.eu-west-1\.amazonaws\.com:443: 503/],
  ]
  for (const [answer, code, says] of failures) {
    const proxy = await startHttpProxy(t, { answer })
    const agent = agentFor(t, { HTTPS_PROXY: `http://${proxy.address}` })
    const error = await failureOf(get(agent))
    t.match(error, { code, message: says })
    t.match(error.message, `the proxy http://${proxy.address} (HTTPS_PROXY)`)
    t.match(hintFor(error, {}), /HTTPS_PROXY/)
    t.equal(agent.problem, error)
  }
  const proxy = await startHttpProxy(t, { answer: '407 No' })
  const wrong = await failureOf(get(agentFor(t, { HTTPS_PROXY: `http://user:hunter2@${proxy.address}` })))
  t.match(wrong, { code: 'FORWARD_PROXY_AUTHENTICATION', message: /rejects the user or password/ })
  t.notMatch(`${wrong.message} ${hintFor(wrong, {})}`, /hunter2|user:/)

  const HTTPS_PROXY = `http://127.0.0.1:${await freePort()}`
  const unreachable = await failureOf(get(agentFor(t, { HTTPS_PROXY })))
  t.match(unreachable, { code: 'FORWARD_PROXY_FAILED', message: /is unreachable: ECONNREFUSED/ })
})

test('a problem is over with the next connection', async t => {
  const aws = await startAws(t, ['127.0.0.1'])
  const environment: NodeJS.ProcessEnv = { AWS_CONFIG_FILE: '/no-such-file', AWS_CA_BUNDLE: '/no-such-file' }
  const agent = createAwsAgent({ environment })
  t.teardown(() => agent.destroy())
  await failureOf(get(agent, '127.0.0.1', aws.port))
  t.match(agent.problem, { code: 'AWS_ENVIRONMENT_INVALID' })
  environment.AWS_CA_BUNDLE = aws.ca
  const [set, clear] = [setTimeout, clearTimeout]
  const timers = new Set<unknown>()
  t.intercept(globalThis, 'setTimeout', {
    value: (work: () => void, milliseconds: number) => {
      const timer = set(work, milliseconds)
      if (milliseconds === 5_000) timers.add(timer)
      return timer
    },
  })
  t.intercept(globalThis, 'clearTimeout', {
    value: (timer: NodeJS.Timeout) => {
      timers.delete(timer)
      clear(timer)
    },
  })
  t.equal(await get(agent, '127.0.0.1', aws.port), 'hello')
  t.equal(agent.problem, undefined)
  t.same(timers, new Set(), 'a connection that is there has no deadline')
  t.same(aws.serverNames, [false], 'an IP address is not sent as a server name')
})

test('what answers is no HTTP proxy', async t => {
  const server = createServer(socket => socket.on('error', () => {}).end('SSH-2.0-OpenSSH_9.2\r\n'))
  const HTTPS_PROXY = `http://127.0.0.1:${await listen(t, server)}`
  const error = await failureOf(get(agentFor(t, { HTTPS_PROXY })))
  t.match(error, { code: 'FORWARD_PROXY_FAILED', message: /does not answer as an HTTP proxy/ })
})

test('a proxy that replaces certificates', async t => {
  const aws = await startAws(t)
  const proxy = await startHttpProxy(t, aws)
  const HTTPS_PROXY = `http://${proxy.address}`
  const error = await failureOf(get(agentFor(t, { HTTPS_PROXY })))
  t.match(error, { code: 'AWS_TLS_UNTRUSTED', message: /issued by "the CA of a company", is not trusted/ })
  t.match(error.message, 'through the proxy http://127.0.0.1')
  t.match(hintFor(error, {}), /AWS_CA_BUNDLE/)
  t.same(aws.paths, [], 'nothing was sent')

  const other = await startAws(t, ['sts.eu-west-2.amazonaws.com'])
  const wrongName = agentFor(t, {
    HTTPS_PROXY: `http://${(await startHttpProxy(t, other)).address}`,
    AWS_CA_BUNDLE: other.ca,
  })
  t.match(await failureOf(get(wrongName)), { code: 'AWS_TLS_UNTRUSTED', message: /ERR_TLS_CERT_ALTNAME_INVALID/ })
  t.same(other.paths, [])
})

test('of the name of an issuer, the error has the first 80 characters', async t => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const cert = createCertificate({
    commonName: `${'a'.repeat(80)}b`,
    names: ['localhost'],
    notBefore: new Date(0),
    notAfter: new Date(Date.UTC(2049, 0, 1)),
    publicKey,
    signingKey: privateKey,
  })
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' })
  const port = await listen(t, createHttpsServer({ cert, key }))
  const { message } = await failureOf(get(agentFor(t, {}), '127.0.0.1', port))
  t.match(message, `issued by "${'a'.repeat(80)}", is not trusted`)
})

test('a late error of a connection does not end the process', async t => {
  const aws = await startAws(t, ['127.0.0.1'])
  const agent = agentFor(t, { AWS_CA_BUNDLE: aws.ca })
  const socket = await new Promise<Duplex>((resolve, reject) => {
    const options = { host: '127.0.0.1', port: aws.port }
    agent.createConnection(options, (error, stream) => (error ? reject(error) : resolve(stream)))
  })
  t.not(socket.listenerCount('error'), 0)
  const closed = new Promise(resolve => socket.on('close', resolve))
  socket.destroy(new Error('late'))
  await closed
})

test('a proxy that speaks TLS', async t => {
  const aws = await startAws(t)
  const authority = await authorityOf('the CA of a proxy')
  const { certificate, key } = await certificateBy('the CA of a proxy', ['localhost'])
  const server = createHttpsServer({ cert: certificate, key })
  const proxy = await startHttpProxy(t, { port: aws.port, server })
  const HTTPS_PROXY = `https://localhost:${proxy.address.split(':')[1]}`
  const ca = fileOf(t, authority.certificate)
  const untrusted = await failureOf(get(agentFor(t, { HTTPS_PROXY, AWS_CA_BUNDLE: aws.ca })))
  t.match(untrusted, { code: 'AWS_TLS_UNTRUSTED', message: /certificate of localhost, issued by "the CA of a proxy"/ })
  const target = await failureOf(get(agentFor(t, { HTTPS_PROXY, AWS_CA_BUNDLE: ca })))
  t.match(
    target,
    { code: 'AWS_TLS_UNTRUSTED', message: /issued by "the CA of a company"/ },
    'the proxy itself is trusted',
  )
  t.same(proxy.targets, [`${HOST}:443`])
})

test('where the CA bundle comes from', async t => {
  const aws = await startAws(t, ['127.0.0.1'])
  const config = `[default]\nca_bundle = /no-such-default\n[profile corp]\nregion=eu-west-1\nca_bundle = ${aws.ca}\n[profile x]\ns3 =\n  ca_bundle = /nested\n`
  const AWS_CONFIG_FILE = fileOf(t, config)
  const routeOf = async (environment: NodeJS.ProcessEnv, profile?: string) => {
    const agent = agentFor(t, { AWS_CONFIG_FILE, ...environment }, profile)
    await get(agent, '127.0.0.1', aws.port).catch(() => undefined)
    return agent.route?.caBundle
  }
  t.equal(
    await get(agentFor(t, { AWS_CONFIG_FILE }, 'corp'), '127.0.0.1', aws.port),
    'hello',
    'ca_bundle of the profile',
  )
  t.equal(await routeOf({}, 'corp'), `ca_bundle=${aws.ca}`)
  t.equal(await routeOf({ AWS_PROFILE: 'corp' }), `ca_bundle=${aws.ca}`)
  t.equal(await routeOf({}), 'ca_bundle=/no-such-default')
  t.equal(await routeOf({ AWS_CA_BUNDLE: '/b', REQUESTS_CA_BUNDLE: '/c' }, 'corp'), 'AWS_CA_BUNDLE=/b')
  t.equal(await routeOf({ REQUESTS_CA_BUNDLE: '/c' }, 'x'), 'REQUESTS_CA_BUNDLE=/c')
  t.equal(await routeOf({}, 'x'), undefined)

  const missing = await failureOf(get(agentFor(t, { AWS_CA_BUNDLE: '/no-such-file' })))
  t.match(missing, { code: 'AWS_ENVIRONMENT_INVALID', message: 'AWS_CA_BUNDLE: cannot read /no-such-file: ENOENT' })
  const empty = fileOf(t, 'no PEM')
  const noPem = await failureOf(get(agentFor(t, { AWS_CA_BUNDLE: empty })))
  t.match(noPem, { code: 'AWS_ENVIRONMENT_INVALID', message: /has no certificate in PEM format/ })
})

test('the deadline of a connection', async t => {
  const silent = createServer()
  const port = await listen(t, silent)
  const wait = setTimeout
  // Its 5 s are over as soon as the other side has the connection.
  t.intercept(globalThis, 'setTimeout', {
    value: (work: () => void, milliseconds: number) =>
      milliseconds === 5_000 ? void silent.once('connection', () => wait(work, 100)) : wait(work, milliseconds),
  })
  const through = get(agentFor(t, { HTTPS_PROXY: `http://127.0.0.1:${port}` }))
  t.match(await failureOf(through), { code: 'FORWARD_PROXY_TARGET', message: /has not connected to .* in time/ })
  const direct = get(agentFor(t, {}), '127.0.0.1', port)
  const message = `no connection to 127.0.0.1:${port} within 5000 ms`
  await t.rejects(direct, { name: 'TimeoutError', code: 'ETIMEDOUT', message }, 'as the SDK expects it')
})

test('AWS_CA_BUNDLE adds to NODE_EXTRA_CA_CERTS', async t => {
  const aws = await startAws(t, ['127.0.0.1'])
  const other = await startAws(t, ['127.0.0.1'], 'another CA')
  const program = `
    import { request } from 'node:https'
    import { createAwsAgent } from './src/aws/https-agent.ts'
    for (const port of ${JSON.stringify([aws.port, other.port])}) {
      const agent = createAwsAgent()
      await new Promise(resolve => request({ host: '127.0.0.1', port, agent }, answer => {
        console.log(answer.statusCode)
        answer.resume().on('end', resolve)
      }).on('error', error => resolve(console.log(error.code))).end())
      agent.destroy()
    }`
  const run = async (NODE_EXTRA_CA_CERTS: string) => {
    const { AWS_CONFIG_FILE: _, HTTPS_PROXY: __, https_proxy: ___, ...inherited } = process.env
    const env = { ...inherited, NODE_EXTRA_CA_CERTS, AWS_CA_BUNDLE: aws.ca, AWS_CONFIG_FILE: '/no-such-file' }
    const { stdout } = await promisify(execFile)(process.execPath, [...LOADER, program], { env })
    return stdout.trim().split('\n')
  }
  t.same(await run(other.ca), ['200', '200'])
  t.same(await run('/no-such-file'), ['200', 'AWS_TLS_UNTRUSTED'])
})
