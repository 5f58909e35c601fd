/**
 * The HTTPS agent of all calls to AWS. It goes through the proxy of HTTPS_PROXY, except for the hosts of NO_PROXY, and also
 * trusts the authorities of AWS_CA_BUNDLE. The AWS SDK for JavaScript reads none of these variables; the AWS CLI does, and
 * this agent follows its rules: what works there must work here.
 * https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-proxy.html
 */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { Agent, type RequestOptions } from 'node:https'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import * as tls from 'node:tls'
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { type ForwardProxy, isLocalHost, readForwardProxy } from '../forward-proxy.ts'
import { forwardProxyError, openTunnel } from '../net/tunnel.ts'
import { settingOfProfile } from './config-file.ts'

/** Time for a connection: to the proxy, through it, and TLS. */
const CONNECT_TIMEOUT_MS = 5_000

const MAX_SOCKETS = 50

export interface AwsAgentOptions {
  /** the profile in ~/.aws/config whose ca_bundle counts; default: AWS_PROFILE, or `default` */
  profile?: string | undefined
  environment?: NodeJS.ProcessEnv
}

/** How the last connection was made, for people to read. */
export interface AwsRoute {
  /** the proxy without user and password, and its variable: `http://proxy:3128 (HTTPS_PROXY)` */
  proxy?: string | undefined
  /** `AWS_CA_BUNDLE=/etc/ssl/corp.pem` */
  caBundle?: string | undefined
}

export interface AwsAgent extends Agent {
  /** what keeps connections from working, if the last one failed because of the proxy, its settings, or the trusted CAs */
  problem: ProxyError | undefined
  /** undefined before the first connection */
  route: AwsRoute | undefined
}

/**
 * A new agent; each client has its own, because `client.destroy()` closes the connections of its agent. The variables and
 * files are read for each connection, so nothing is loaded before the first one, and a changed file counts.
 */
export function createAwsAgent({ profile, environment = process.env }: AwsAgentOptions = {}): AwsAgent {
  const state: Pick<AwsAgent, 'problem' | 'route'> = { problem: undefined, route: undefined }
  const agent = Object.assign(new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS }), state)
  agent.createConnection = (options: RequestOptions, done?: (error: Error | null, stream: Duplex) => void) => {
    agent.problem = undefined
    connectTo(options, profile, environment, route => {
      agent.route = route
    }).then(
      socket => done?.(null, socket),
      (error: Error) => {
        if (error instanceof ProxyError) agent.problem = error
        // On an error, Node.js does not look at the stream.
        done?.(error, undefined as unknown as Duplex)
      },
    )
    return undefined
  }
  return agent
}

async function connectTo(
  options: RequestOptions,
  profile: string | undefined,
  environment: NodeJS.ProcessEnv,
  onRoute: (route: AwsRoute) => void,
): Promise<Socket> {
  const target = { host: options.host ?? '', port: Number(options.port ?? 443) }
  const proxy = proxyFor(target, environment)
  const bundle = await findCaBundle(profile, environment)
  onRoute({ proxy: proxy?.shown, caBundle: bundle && `${bundle.setting}=${bundle.file}` })
  const secure = {
    // After the handshake, so that the error can name the issuer. Nothing is sent before.
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...(bundle && { secureContext: await contextWith(bundle) }),
  }
  // The one on top. It takes those below with it; Node.js 20 crashes if one below is destroyed first.
  let current: Socket | undefined
  const keep = (socket: Socket) => {
    current = socket
    // An error while nobody waits for one must not end the process.
    socket.on('error', () => {})
  }
  const timer = setTimeout(() => current?.destroy(timeout(target)), CONNECT_TIMEOUT_MS)
  const connect = async (to: HostPort, over?: Socket): Promise<Socket> => {
    const servername = isIP(to.host) === 0 ? to.host : ''
    const socket = tls.connect({ ...secure, ...to, servername, ...(over && { socket: over }) })
    keep(socket)
    await once(socket, 'secureConnect')
    if (!socket.authorized) throw untrusted(socket, to.host, proxy)
    return socket
  }
  try {
    if (!proxy) return await connect(target)
    const reach = async () => {
      if (proxy.protocol === 'https') return await connect({ host: proxy.host, port: proxy.port })
      const socket = connectTcp(proxy.port, proxy.host)
      keep(socket)
      await once(socket, 'connect')
      return socket
    }
    const socket = await reach().catch(cause => {
      if (cause instanceof ProxyError) throw cause
      const what = `is unreachable: ${systemCode(cause) || 'no TLS connection'}`
      throw forwardProxyError('FORWARD_PROXY_FAILED', { proxy, target }, what, cause)
    })
    await openTunnel(socket, proxy, target)
    return await connect(target, socket)
  } catch (error) {
    current?.destroy()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** In the form that makes the SDK retry. */
function timeout(target: HostPort): Error {
  const message = `no connection to ${formatHostPort(target)} within ${CONNECT_TIMEOUT_MS} ms`
  return Object.assign(new Error(message), { name: 'TimeoutError', code: 'ETIMEDOUT' })
}

function untrusted(socket: tls.TLSSocket, host: string, proxy: ForwardProxy | undefined): Error {
  const code = String(socket.authorizationError)
  const { issuer } = socket.getPeerCertificate()
  const issuerName = String(issuer?.CN ?? issuer?.O ?? '(no name)').replace(/[^ -~]/g, '')
  const through = proxy ? `, through the proxy ${proxy.shown}` : ''
  const what = `the certificate of ${host}, issued by "${issuerName.slice(0, 80)}", is not trusted (${code})${through}`
  return new ProxyError('AWS_TLS_UNTRUSTED', what, { cause: Object.assign(new Error(code), { code }) })
}

/**
 * The proxy for `target`, as botocore chooses it: https_proxy counts before HTTPS_PROXY, and an empty one turns it off.
 * Instance metadata, containers and this machine itself are never asked through a proxy.
 * @throws ProxyError AWS_ENVIRONMENT_INVALID
 */
export function proxyFor(target: HostPort, environment: NodeJS.ProcessEnv): ForwardProxy | undefined {
  const setting = environment.https_proxy === undefined ? 'HTTPS_PROXY' : 'https_proxy'
  const text = environment[setting]
  if (!text || isLocalHost(target.host) || isExempt(target, environment.no_proxy ?? environment.NO_PROXY ?? '')) {
    return undefined
  }
  const proxy = readForwardProxy(text.includes('://') ? text : `http://${text.replace(/^\/\//, '')}`, setting)
  if (proxy) return { ...proxy, shown: `${proxy.shown} (${setting})` }
  throw invalid(setting, 'not the URL of a proxy, such as http://USER:PASSWORD@HOST:PORT')
}

/**
 * The rules of Python's urllib, which botocore uses: suffixes at a dot, with or without a dot in front; or `*` alone. A port
 * counts only if the URL has one, and those of AWS have none.
 */
function isExempt({ host, port }: HostPort, noProxy: string): boolean {
  if (noProxy === '*') return true
  const names = noProxy.split(',').map(name => name.trim().toLowerCase().replace(/^\.+/, ''))
  const name = host.toLowerCase()
  const forms = port === 443 ? [name] : [name, `${name}:${port}`]
  return names.some(exempt => exempt !== '' && forms.some(form => form === exempt || form.endsWith(`.${exempt}`)))
}

interface CaBundle {
  setting: string
  file: string
}

/** https://docs.aws.amazon.com/cli/latest/topic/config-vars.html: AWS_CA_BUNDLE counts before ca_bundle. */
async function findCaBundle(
  profile: string | undefined,
  environment: NodeJS.ProcessEnv,
): Promise<CaBundle | undefined> {
  const { AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE } = environment
  if (AWS_CA_BUNDLE) return { setting: 'AWS_CA_BUNDLE', file: AWS_CA_BUNDLE }
  const file = await settingOfProfile('ca_bundle', profile, environment)
  if (file) return { setting: 'ca_bundle', file }
  return REQUESTS_CA_BUNDLE ? { setting: 'REQUESTS_CA_BUNDLE', file: REQUESTS_CA_BUNDLE } : undefined
}

let lastContext: { pem: string; context: tls.SecureContext } | undefined

/** The authorities of Node.js and those of the bundle. @throws ProxyError AWS_ENVIRONMENT_INVALID */
async function contextWith({ setting, file }: CaBundle): Promise<tls.SecureContext> {
  const pem = await readFile(file, 'utf8').catch(error => {
    throw invalid(setting, `cannot read ${file}: ${systemCode(error)}`, error)
  })
  if (lastContext?.pem === pem) return lastContext.context
  try {
    // Node.js ignores an invalid PEM text.
    new X509Certificate(pem)
  } catch (error) {
    throw invalid(setting, `${file} has no certificate in PEM format`, error)
  }
  const context = tls.createSecureContext({ ca: [...(await defaultAuthorities()), pem] })
  lastContext = { pem, context }
  return context
}

async function defaultAuthorities(): Promise<readonly string[]> {
  // Since Node.js 22.15
  const { getCACertificates } = tls as { getCACertificates?: (type: 'default') => string[] }
  if (getCACertificates) return getCACertificates('default')
  const extra = process.env.NODE_EXTRA_CA_CERTS
  const pem = extra ? await readFile(extra, 'utf8').catch(() => '') : ''
  return pem === '' ? tls.rootCertificates : [...tls.rootCertificates, pem]
}

function invalid(setting: string, what: string, cause?: unknown): ProxyError {
  return new ProxyError('AWS_ENVIRONMENT_INVALID', `${setting}: ${what}`, { cause, hintValues: { setting } })
}
