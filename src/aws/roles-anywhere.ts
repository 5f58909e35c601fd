/**
 * Credentials from IAM Roles Anywhere: a host outside AWS proves with the key of its certificate who it is.
 * https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html
 */
import type { IncomingMessage } from 'node:http'
import { type Agent, request } from 'node:https'
import { ProxyError, systemCode } from '../errors.ts'
import { OPTION_VALUES } from '../option-values.ts'
import type { Credentials } from './credential-types.ts'
import { createAwsAgent } from './https-agent.ts'
import { redact } from './redact.ts'
import { expiryOf, nameOf, readIdentity } from './roles-anywhere-certificate.ts'
import { endpointOf, type RolesAnywhereOptions, regionOfArn } from './roles-anywhere-options.ts'
import { signCreateSession } from './roles-anywhere-signature.ts'

/** Time for the whole call. */
const CALL_TIMEOUT_MS = 10_000

/** An answer has about 2 kB. */
const MAX_ANSWER_BYTES = 256 << 10

/** AWS refuses signatures of clocks that are further away. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000

/**
 * Calls CreateSession once, with the files as they are now: certificates are rotated on disk.
 * @throws ProxyError CREDENTIALS_CERTIFICATE_INVALID, CREDENTIALS_ROLES_ANYWHERE, CREDENTIALS_UNREACHABLE, CLOCK_SKEW, AWS_…
 */
export async function fromRolesAnywhere(
  options: RolesAnywhereOptions,
  timeout = AbortSignal.timeout(CALL_TIMEOUT_MS),
): Promise<Credentials> {
  const now = Date.now()
  const { certificate, intermediates, key } = await readIdentity(options, now)
  const url = new URL('/sessions', endpointOf(options))
  const body = JSON.stringify({
    durationSeconds: Math.round((options.duration ?? OPTION_VALUES.rolesAnywhereDuration.default) / 1_000),
    profileArn: options.profileArn,
    roleArn: options.roleArn,
    trustAnchorArn: options.trustAnchorArn,
    roleSessionName: options.sessionName,
  })
  const region = regionOfArn(options.trustAnchorArn)
  const signing = { host: url.host, region, body, date: new Date(now), certificate, intermediates, key }
  const headers = signCreateSession(signing)
  const answer = await post(url, headers, body, timeout)
  if (answer.status !== 201 && answer.status !== 200) throw refusal(url.host, answer)
  const credentials = parseCredentials(answer.body)
  if (!credentials) throw unreachable(url.host, 'sent an answer without credentials')
  return { ...credentials, certificate: { name: nameOf(certificate), expires: new Date(expiryOf(certificate)) } }
}

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: string
}

async function post(url: URL, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<Answer> {
  const agent = createAwsAgent()
  try {
    return await exchange(url, { ...headers, 'content-length': String(Buffer.byteLength(body)) }, body, agent, signal)
  } catch (error) {
    // Of the proxy or the authorities in the environment.
    if (error instanceof ProxyError) throw error
    const isLate = signal.aborted || systemCode(error) === 'ETIMEDOUT'
    throw unreachable(
      url.host,
      isLate ? 'did not answer in time' : `is unreachable: ${systemCode(error) || 'no answer'}`,
      error,
    )
  } finally {
    agent.destroy()
  }
}

function exchange(
  url: URL,
  headers: Record<string, string>,
  body: string,
  agent: Agent,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: 'POST', headers, agent, signal }, incoming => {
      const chunks: Buffer[] = []
      let bytes = 0
      incoming.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > MAX_ANSWER_BYTES) incoming.destroy(new Error('the answer is too long'))
        else chunks.push(chunk)
      })
      incoming.once('error', reject)
      incoming.once('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: text })
      })
    })
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}

function parseCredentials(body: string): Credentials | undefined {
  const { credentialSet } = parseObject(body) as { credentialSet?: { credentials?: Record<string, unknown> }[] }
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = credentialSet?.[0]?.credentials ?? {}
  const expires = new Date(String(expiration))
  const isWhole = [accessKeyId, secretAccessKey, sessionToken].every(text => typeof text === 'string' && text !== '')
  if (!isWhole || Number.isNaN(expires.getTime())) return undefined
  return { accessKeyId, secretAccessKey, sessionToken, expiration: expires } as Credentials
}

function parseObject(body: string): object {
  try {
    return Object(JSON.parse(body))
  } catch {
    return {}
  }
}

/** Names of errors, and sentences without anything that could be a key. */
const ERROR_NAME = /^[A-Z][A-Za-z]{1,60}/
const SENTENCE = /^[\w .,:;'"()/@=-]{1,200}$/

function refusal(host: string, { status, headers, body }: Answer): ProxyError {
  const ahead = clockAhead(headers.date)
  if (ahead !== undefined && Math.abs(ahead) > MAX_CLOCK_SKEW_MS) {
    const minutes = Math.round(Math.abs(ahead) / 60_000)
    const what = `the clock of this machine is ${minutes} min ${ahead > 0 ? 'ahead' : 'behind'}, compared with IAM Roles Anywhere, which refused the certificate's signature`
    return new ProxyError('CLOCK_SKEW', what)
  }
  const parsed = parseObject(body) as { __type?: unknown; code?: unknown; message?: unknown; Message?: unknown }
  const told = String(headers['x-amzn-errortype'] ?? parsed.__type ?? parsed.code ?? '')
  const name = ERROR_NAME.exec(told.split('#').at(-1)!)?.[0]
  const message = String(parsed.message ?? parsed.Message ?? '').trim()
  const reason = SENTENCE.test(message) ? `: ${redact(message).replace(/\.+$/, '')}` : ''
  if (name === undefined || status < 400 || status >= 500 || status === 429) {
    return unreachable(host, `answered HTTP ${status}${name === undefined ? '' : `, ${name}`}`)
  }
  return new ProxyError('CREDENTIALS_ROLES_ANYWHERE', `IAM Roles Anywhere: ${name}${reason}`)
}

/** Milliseconds; undefined without a date. The header has only whole seconds. */
function clockAhead(date: string | undefined): number | undefined {
  const theirs = Date.parse(date ?? '')
  return Number.isNaN(theirs) ? undefined : Date.now() - theirs
}

function unreachable(host: string, what: string, cause?: unknown): ProxyError {
  const values = { service: host }
  return new ProxyError('CREDENTIALS_UNREACHABLE', `IAM Roles Anywhere (${host}) ${what}`, {
    cause,
    hintValues: values,
  })
}
