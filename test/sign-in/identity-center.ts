/**
 * A stand-in for IAM Identity Center: its OIDC service, its pages and its portal. It checks what the real service checks, and
 * keeps what it saw. It shares no code with the sign-in.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Clock } from '../../src/clock.ts'
import { monotonicClock } from '../../src/clock.ts'

export const START_URL = 'https://example.awsapps.com/start'

export const CONFIG = `[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Developer
region = eu-west-1

[profile old]
sso_start_url = ${START_URL}
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = Developer

[profile role]
role_arn = arn:aws:iam::123456789012:role/db
source_profile = dev

[profile keys]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = secret

[profile console]
login_session = arn:aws:iam::123456789012:user/me

[sso-session corp]
sso_start_url = ${START_URL}
sso_region = us-east-1
sso_registration_scopes = sso:account:access
`

interface RegisteredClient {
  secret: string
  redirectUris: string[]
  grantTypes: string[] | undefined
  scopes: string[]
  issuerUrl: string | undefined
}

/** The fields of all requests. */
interface Input {
  clientName: string
  clientType: string
  redirectUris?: string[]
  grantTypes?: string[]
  scopes?: string[]
  issuerUrl?: string
  clientId: string
  clientSecret: string
  startUrl: string
  grantType: string
  code: string
  redirectUri: string
  codeVerifier: string
  refreshToken: string
  deviceCode: string
}

interface Device {
  clientId: string
  state: 'pending' | 'approved' | 'denied' | 'expired'
  interval: number
  lastPoll: number | undefined
}

export interface IdentityCenter {
  url: string
  /** the environment of a program that asks this stand-in */
  environment: Record<string, string>
  home: string
  /** each request but the secrets: `POST /token authorization_code` */
  requests: string[]
  /** what was refused, and why */
  refusals: string[]
  /** how many requests for a token came too soon */
  tooSoon: number
  /** decides about the newest device code; true also for one that is still to come */
  decide(state: Device['state']): void
  /** answers the next request for a token with `slow_down` */
  slowDownOnce(): void
  /** forgets all clients, as after 90 days */
  forgetClients(): void
  /** breaks every request from now on, or no longer */
  breakDown(isBroken: boolean): void
  /** resolves at the next request whose line starts so */
  nextRequest(start: string): Promise<void>
  accessTokens: Set<string>
  /** seconds that a new token is valid */
  tokenLifetime: number
  clients: Map<string, RegisteredClient>
  /** what the portal gives for a token */
  roleCredentials: { accessKeyId: string; secretAccessKey: string; sessionToken: string }
}

export interface BrowserAnswer {
  status: number
  location: string | null
}

/** What a browser does with the address: it asks for the page, and the person agrees. Where the page leads to. */
export async function openPage(url: string): Promise<BrowserAnswer> {
  const response = await fetch(url, { redirect: 'manual' })
  return { status: response.status, location: response.headers.get('location') }
}

/** Opens the address and follows it back to the callback. @returns the page there */
export async function signInWithBrowser(url: string): Promise<{ status: number; text: string }> {
  const { location } = await openPage(url)
  const response = await fetch(location!)
  return { status: response.status, text: await response.text() }
}

export async function startIdentityCenter(t: Test, clock: Clock = monotonicClock): Promise<IdentityCenter> {
  const codes = new Map<string, { clientId: string; redirectUri: string; challenge: string; scopes: string[] }>()
  const devices = new Map<string, Device>()
  const refreshTokens = new Map<string, string>()
  const waiting: { start: string; resolve: () => void }[] = []
  let newest: Device | undefined
  let slowDown = false
  let isBroken = false
  let decision: Device['state'] = 'pending'
  let isDenied = false

  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    if (isBroken) return void request.socket.destroy()
    answer(request, body, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const home = t.testdir({ config: CONFIG, credentials: '' })

  const center: IdentityCenter = {
    url,
    home,
    environment: {
      HOME: home,
      USERPROFILE: home,
      AWS_CONFIG_FILE: join(home, 'config'),
      AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_ENDPOINT_URL_SSO_OIDC: url,
      AWS_ENDPOINT_URL_SSO: url,
    },
    requests: [],
    refusals: [],
    tooSoon: 0,
    decide(state) {
      decision = state
      isDenied = state === 'denied'
      if (newest) newest.state = state
    },
    slowDownOnce() {
      slowDown = true
    },
    forgetClients() {
      center.clients.clear()
    },
    breakDown(broken) {
      isBroken = broken
    },
    nextRequest: start => new Promise(resolve => waiting.push({ start, resolve })),
    accessTokens: new Set(),
    tokenLifetime: 3_600,
    clients: new Map(),
    roleCredentials: {
      accessKeyId: 'ASIAEXAMPLE',
      secretAccessKey: 'secret-key-of-the-role',
      sessionToken: 'session-of-the-role',
    },
  }

  function note(line: string): void {
    center.requests.push(line)
    for (const one of waiting.filter(({ start }) => line.startsWith(start))) {
      waiting.splice(waiting.indexOf(one), 1)
      one.resolve()
    }
  }

  function answer(request: IncomingMessage, body: string, response: ServerResponse): unknown {
    const { pathname, searchParams } = new URL(request.url ?? '', url)
    const json = (value: object) =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    const refuse = (type: string, error: string, why: string, status = 400) => {
      center.refusals.push(`${error}: ${why}`)
      response
        .writeHead(status, {
          'content-type': 'application/json',
          'x-amzn-errortype': `${type}:http://internal.amazon.com/`,
        })
        .end(JSON.stringify({ error, error_description: why }))
    }
    const line = `${request.method} ${pathname}`
    switch (line) {
      case 'POST /client/register':
        note(line)
        return register(JSON.parse(body), json, refuse)
      case 'GET /authorize':
        note(line)
        return authorize(searchParams, response)
      case 'POST /device_authorization':
        note(line)
        return device(JSON.parse(body), json, refuse)
      case 'POST /token': {
        const input = JSON.parse(body)
        note(`${line} ${input.grantType.split(':').at(-1)}`)
        return token(input, json, refuse)
      }
      case 'POST /': {
        // AWS STS: AssumeRole with a code.
        note(`${line} ${new URLSearchParams(body).get('Action')}`)
        return assumeRole(response)
      }
      case 'GET /federation/credentials':
        note(line)
        return portal(request, json, refuse)
    }
    return refuse('InvalidRequestException', 'invalid_request', `no such page: ${line}`, 404)
  }

  type Json = (value: object) => unknown
  type Refuse = (type: string, error: string, why: string, status?: number) => unknown

  function register(input: Input, json: Json, refuse: Refuse): unknown {
    const { clientName, clientType, redirectUris = [], grantTypes, scopes = [], issuerUrl } = input
    if (typeof clientName !== 'string' || !/^[\w.-]{1,64}$/.test(clientName)) {
      return refuse('InvalidClientMetadataException', 'invalid_client_metadata', 'clientName')
    }
    if (clientType !== 'public')
      return refuse('InvalidClientMetadataException', 'invalid_client_metadata', 'clientType')
    if (grantTypes?.includes('authorization_code')) {
      const isLoopback =
        redirectUris.length > 0 && redirectUris.every((uri: string) => uri === 'http://127.0.0.1/oauth/callback')
      if (!isLoopback) return refuse('InvalidRedirectUriException', 'invalid_redirect_uri', String(redirectUris))
      if (issuerUrl !== START_URL) return refuse('InvalidRequestException', 'invalid_request', 'issuerUrl')
      if (!grantTypes.includes('refresh_token'))
        return refuse('UnsupportedGrantTypeException', 'unsupported_grant_type', '')
    }
    if (scopes.some((scope: string) => scope !== 'sso:account:access')) {
      return refuse('InvalidScopeException', 'invalid_scope', String(scopes))
    }
    const clientId = `client-${randomBytes(8).toString('hex')}`
    const secret = `secret-of-client-${randomBytes(16).toString('hex')}`
    center.clients.set(clientId, { secret, redirectUris, grantTypes, scopes, issuerUrl })
    const now = Math.floor(Date.now() / 1_000)
    return json({ clientId, clientSecret: secret, clientIdIssuedAt: now, clientSecretExpiresAt: now + 90 * 86_400 })
  }

  /** The page of the browser; the person agrees at once, or not, as `decide` said. */
  function authorize(query: URLSearchParams, response: ServerResponse): unknown {
    const page = (status: number, text: string) => void response.writeHead(status).end(text)
    const get = (name: string) => query.get(name) ?? ''
    const client = center.clients.get(get('client_id'))
    if (!client?.grantTypes?.includes('authorization_code')) return page(400, 'unknown client')
    const redirectUri = get('redirect_uri')
    // RFC 8252, section 7.3: any port of the loopback address.
    const withoutPort = redirectUri.replace(/^(http:\/\/127\.0\.0\.1):\d+\//, '$1/')
    if (!client.redirectUris.includes(withoutPort)) return page(400, `redirect_uri ${redirectUri}`)
    if (get('response_type') !== 'code') return page(400, 'response_type')
    if (get('code_challenge_method') !== 'S256') return page(400, 'code_challenge_method')
    if (!/^[A-Za-z0-9_-]{43}$/.test(get('code_challenge'))) return page(400, 'code_challenge')
    const scopes = get('scopes').split(' ')
    if (scopes.some(scope => !client.scopes.includes(scope))) return page(400, `scopes ${scopes}`)
    if (get('state').length < 16) return page(400, 'state')
    const to = new URL(redirectUri)
    to.searchParams.set('state', get('state'))
    if (isDenied) to.searchParams.set('error', 'access_denied')
    else {
      const code = randomBytes(16).toString('hex')
      codes.set(code, { clientId: get('client_id'), redirectUri, challenge: get('code_challenge'), scopes })
      to.searchParams.set('code', code)
    }
    return response.writeHead(302, { location: to.href }).end()
  }

  function device(input: Input, json: Json, refuse: Refuse): unknown {
    const { clientId, clientSecret, startUrl } = input
    if (center.clients.get(clientId)?.secret !== clientSecret) {
      return refuse('InvalidClientException', 'invalid_client', 'unknown client', 401)
    }
    if (startUrl !== START_URL) return refuse('InvalidRequestException', 'invalid_request', 'startUrl')
    const deviceCode = randomBytes(16).toString('hex')
    newest = { clientId, state: decision, interval: 1, lastPoll: clock.now() }
    devices.set(deviceCode, newest)
    const userCode = 'ABCD-EFGH'
    return json({
      deviceCode,
      userCode,
      verificationUri: `${url}/device`,
      verificationUriComplete: `${url}/device?user_code=${userCode}`,
      expiresIn: 600,
      interval: 1,
    })
  }

  function token(input: Input, json: Json, refuse: Refuse): unknown {
    const { clientId, clientSecret, grantType } = input
    const client = center.clients.get(clientId)
    if (client?.secret !== clientSecret)
      return refuse('InvalidClientException', 'invalid_client', 'unknown client', 401)
    if (grantType === 'authorization_code') {
      const found = codes.get(input.code)
      codes.delete(input.code)
      if (found?.clientId !== clientId) return refuse('InvalidGrantException', 'invalid_grant', 'code')
      if (found!.redirectUri !== input.redirectUri)
        return refuse('InvalidGrantException', 'invalid_grant', 'redirectUri')
      const challenge = createHash('sha256').update(String(input.codeVerifier)).digest('base64url')
      if (challenge !== found!.challenge) return refuse('InvalidGrantException', 'invalid_grant', 'codeVerifier')
      if (String(input.codeVerifier).length < 43)
        return refuse('InvalidGrantException', 'invalid_grant', 'short verifier')
      return grant(clientId, json)
    }
    if (grantType === 'refresh_token') {
      if (refreshTokens.get(input.refreshToken) !== clientId)
        return refuse('InvalidGrantException', 'invalid_grant', 'refreshToken')
      return grant(clientId, json)
    }
    if (grantType !== 'urn:ietf:params:oauth:grant-type:device_code') {
      return refuse('UnsupportedGrantTypeException', 'unsupported_grant_type', grantType)
    }
    const found = devices.get(input.deviceCode)
    if (found?.clientId !== clientId) return refuse('InvalidGrantException', 'invalid_grant', 'deviceCode')
    const since = clock.now() - (found!.lastPoll ?? 0)
    found!.lastPoll = clock.now()
    const isTooSoon = since < found!.interval * 1_000
    if (isTooSoon) center.tooSoon++
    if (slowDown || isTooSoon) {
      slowDown = false
      found!.interval += 5
      return refuse('SlowDownException', 'slow_down', 'wait longer')
    }
    if (found!.state === 'pending') return refuse('AuthorizationPendingException', 'authorization_pending', 'not yet')
    if (found!.state === 'expired') return refuse('ExpiredTokenException', 'expired_token', 'too late')
    if (found!.state === 'denied') return refuse('AccessDeniedException', 'access_denied', 'the person said no')
    devices.delete(input.deviceCode)
    return grant(clientId, json)
  }

  function grant(clientId: string, json: Json): unknown {
    const accessToken = `access-token-${randomBytes(16).toString('hex')}`
    center.accessTokens.add(accessToken)
    const isRenewable = (center.clients.get(clientId)?.scopes.length ?? 0) > 0
    const refreshToken = `refresh-token-${randomBytes(16).toString('hex')}`
    if (isRenewable) refreshTokens.set(refreshToken, clientId)
    return json({
      accessToken,
      expiresIn: center.tokenLifetime,
      tokenType: 'Bearer',
      ...(isRenewable && { refreshToken }),
    })
  }

  function portal({ headers }: IncomingMessage, json: Json, refuse: Refuse): unknown {
    const bearer = String(headers['x-amz-sso_bearer_token'])
    if (!center.accessTokens.has(bearer)) {
      return refuse('UnauthorizedException', 'unauthorized', 'Session token not found or invalid', 401)
    }
    const expiration = Date.now() + 3_600_000
    return json({ roleCredentials: { ...center.roleCredentials, expiration } })
  }

  function assumeRole(response: ServerResponse): unknown {
    const expiration = new Date(Date.now() + 3_600_000).toISOString()
    return response
      .writeHead(200, { 'content-type': 'text/xml' })
      .end(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>secret-key-of-the-role</SecretAccessKey>
        <SessionToken>session-of-the-role</SessionToken><Expiration>${expiration}</Expiration></Credentials>
        <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/db/s</Arn><AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>
        </AssumeRoleResult></AssumeRoleResponse>`)
  }

  return center
}

/** Replaces all AWS variables of this process by those of the stand-in, for one test. */
export function useEnvironment(t: Test, variables: Record<string, string>): void {
  const before = { ...process.env }
  for (const name of Object.keys(process.env)) if (/^AWS_|_PROXY$/i.test(name)) delete process.env[name]
  Object.assign(process.env, variables)
  t.teardown(() => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
    Object.assign(process.env, before)
  })
}
