import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createAuthority } from '../../src/demo/certificates.ts'
import { identity, startAwsApi } from '../support/aws-api.ts'
import {
  type Checked,
  failsWith,
  runCheck,
  secretEnvironment,
  setEnvironment,
  useKeysOf,
  warningsOf,
} from '../support/check.ts'
import { listen, startHttpProxy, startProxyProgram } from '../support/forward-proxy.ts'
import { freePort } from '../support/free-port.ts'
import { realServer } from '../support/mariadb.ts'

const ROLE = 'arn:aws:sts::123456789012:assumed-role/rds-connect/session'
const STS = 'sts.eu-west-1.corp.test'

function factsOf({ json }: Checked, step: string) {
  return json.steps.find(found => found.step === step)?.facts ?? {}
}

/** STS behind HTTPS, with a certificate of a private CA; the environment points to it. */
async function startSts(t: Test) {
  const authority = await createAuthority('CA of the company')
  const { certificate, key } = await authority.issue({ names: [STS] })
  const answer = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>${identity(ROLE)}</GetCallerIdentityResult></GetCallerIdentityResponse>`
  const server = createServer({ cert: certificate, key }, (_request, response) => {
    response.setHeader('content-type', 'text/xml').end(answer)
  })
  const port = await listen(t, server)
  const directory = mkdtempSync(join(tmpdir(), 'check-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const ca = join(directory, 'corp.pem')
  writeFileSync(ca, authority.certificate)
  setEnvironment(t, { ...secretEnvironment(), AWS_ENDPOINT_URL_STS: `https://${STS}:${port}` })
  for (const name of ['HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy']) delete process.env[name]
  return { port, ca }
}

test('calls to AWS through squid, with a private CA', async t => {
  const { port, ca } = await startSts(t)
  const login = { user: 'user', password: 'hunter2' }
  const squid = await startProxyProgram(t, 'squid', { hosts: [STS], login, ports: [port] })
  const open = `http://user:hunter2@${squid.address}`
  const options = { connect: `127.0.0.1:${await freePort()}` }

  Object.assign(process.env, { HTTPS_PROXY: open, AWS_CA_BUNDLE: ca })
  const checked = await runCheck(t, { options })
  t.match(factsOf(checked, 'credentials'), {
    as: ROLE,
    through: `proxy http://${squid.address} (HTTPS_PROXY)`,
    CAs: `AWS_CA_BUNDLE=${ca}`,
  })
  t.same(warningsOf(checked), [])

  // STS is not needed for a login: its errors are warnings.
  const warning = async (changes: Record<string, string | undefined>) => {
    const before = { ...process.env }
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    const [first, ...more] = warningsOf(await runCheck(t, { options }))
    t.same(more, [])
    process.env = before
    return first
  }
  t.match(await warning({ AWS_CA_BUNDLE: undefined }), {
    code: 'AWS_TLS_UNTRUSTED',
    message: /certificate of sts\.eu-west-1\.corp\.test, issued by "CA of the company", is not trusted/,
    hint: /AWS_CA_BUNDLE/,
  })
  t.match(await warning({ AWS_CA_BUNDLE: '/no/such.pem' }), { code: 'AWS_ENVIRONMENT_INVALID' })
  t.match(await warning({ HTTPS_PROXY: `http://${squid.address}` }), {
    code: 'FORWARD_PROXY_AUTHENTICATION',
    message: /requires a user and password: 407/,
  })
  t.match(await warning({ HTTPS_PROXY: `http://user:hunter3@${squid.address}` }), {
    code: 'FORWARD_PROXY_AUTHENTICATION',
    message: /rejects the user or password: 407/,
  })
  t.match(await warning({ AWS_ENDPOINT_URL_STS: `https://${STS}:${await freePort()}` }), {
    code: 'FORWARD_PROXY_REFUSED',
    message: /refuses the connection to sts\.eu-west-1\.corp\.test:\d+: 403/,
  })
  t.match(await warning({ HTTPS_PROXY: `http://127.0.0.1:${await freePort()}` }), {
    code: 'FORWARD_PROXY_FAILED',
    message: /is unreachable: ECONNREFUSED/,
  })
  t.match(await warning({ HTTPS_PROXY: `http://127.0.0.1:${await freePort()}`, NO_PROXY: 'corp.test' }), {
    code: 'AWS_UNREACHABLE',
    message: /ENOTFOUND|EAI_AGAIN/,
  })
})

test('a login to a real server through a forward proxy', async t => {
  setEnvironment(t)
  await startAwsApi(t, { GetCallerIdentity: identity(ROLE) })
  const server = await realServer(t)
  useKeysOf(server)
  const { address } = await startHttpProxy(t, { port: server.port })
  const proxy = `http://user:hunter2@${address}`
  const options = { rdsEndpoint: server.rdsHost, connect: 'nlb.vpc.invalid', ca: [server.ca], proxy }
  const checked = await runCheck(t, { options })
  t.equal(checked.json.code, 'OK')
  t.equal(factsOf(checked, 'configuration')['through'], `the proxy http://${address}`)
  t.match(factsOf(checked, 'DNS'), { 'nlb.vpc.invalid': `the proxy http://${address} resolves it` })
  t.match(factsOf(checked, 'TCP'), {
    'nlb.vpc.invalid:3306': new RegExp(`open, \\d+ ms; through the proxy http://${address}`),
  })
})

test('a forward proxy that leads nowhere', async t => {
  setEnvironment(t)
  const { address } = await startHttpProxy(t, { answer: '403 Forbidden' })
  const refused = await runCheck(t, { options: { connect: 'nlb.test', proxy: `http://${address}` } })
  failsWith(t, refused, 'TCP', 'FORWARD_PROXY_REFUSED', [/refuses the connection to nlb\.test:3306: 403 Forbidden/])
  t.equal(factsOf(refused, 'TCP')['nlb.test:3306'], 'failed')
  const unknown = await runCheck(t, { options: { proxy: 'socks5://no-such-proxy.invalid' } })
  failsWith(t, unknown, 'DNS', 'DIAL_DNS', [/no-such-proxy\.invalid/])
})
