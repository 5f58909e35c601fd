/**
 * The folder ~/.aws/sso/cache, which the AWS CLI and the SDKs share. It has a file for the token of each session, and one for
 * each registration of a client. The names and fields are those of botocore (utils.py, tokens.py) and of the SDK for
 * JavaScript (getSSOTokenFilepath, fromSso).
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ProxyError, systemCode } from '../errors.ts'
import type { SsoSession } from './session.ts'

/** A client that IAM Identity Center knows. `clientSecret` is secret. */
export interface Registration {
  clientId: string
  clientSecret: string
  /** as in the file, in UTC */
  expiresAt: string
  scopes?: readonly string[]
  grantTypes?: readonly string[]
}

/** What IAM Identity Center gives after a sign-in. Both tokens are secret. */
export interface NewToken {
  accessToken: string
  /** undefined if the session has no refresh token */
  refreshToken: string | undefined
  /** seconds */
  expiresIn: number
}

/** A registration is used for a sign-in only if it is valid for this long, as in botocore. */
const REGISTRATION_MARGIN_MS = 15 * 60_000

/** Where the SDK looks for it: it takes HOME also on Windows. */
function cacheFolder(environment: NodeJS.ProcessEnv): string {
  return join(environment['HOME'] || environment['USERPROFILE'] || homedir(), '.aws', 'sso', 'cache')
}

/** The file of a session's token. */
export function tokenFile({ name, startUrl }: SsoSession, environment: NodeJS.ProcessEnv = process.env): string {
  return join(cacheFolder(environment), `${sha1(name ?? startUrl)}.json`)
}

/**
 * The file of the registration for a session. As with botocore, its name is a hash of everything that must not be mixed up,
 * the tool included: a registration of the AWS CLI would make the browser's page name the AWS CLI as the one who asks.
 */
export function registrationFile(
  { name, startUrl, region, scopes }: SsoSession,
  grant: string,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  const key = { region, scopes, session_name: name ?? null, startUrl, tool: `mysql-iam-proxy ${grant}` }
  return join(cacheFolder(environment), `${sha1(JSON.stringify(key))}.json`)
}

/** The registration in a file; undefined if there is none that can be used for a sign-in now. */
export async function readRegistration(file: string): Promise<Registration | undefined> {
  try {
    const found: Registration = JSON.parse(await readFile(file, 'utf8'))
    const { clientId, clientSecret, expiresAt } = found
    if (typeof clientId !== 'string' || typeof clientSecret !== 'string') return undefined
    return Date.parse(expiresAt) - Date.now() > REGISTRATION_MARGIN_MS ? found : undefined
  } catch {
    return undefined
  }
}

/** A registration that IAM Identity Center has refused must not be used again. */
export async function dropRegistration(file: string): Promise<void> {
  await rm(file, { force: true })
}

/** @throws ProxyError SIGN_IN_FAILED */
export async function saveRegistration(file: string, registration: Registration): Promise<void> {
  await save(file, registration)
}

/** Saves the token of a session. @returns when it expires. @throws ProxyError SIGN_IN_FAILED */
export async function saveToken(
  session: SsoSession,
  { accessToken, refreshToken, expiresIn }: NewToken,
  { clientId, clientSecret, expiresAt: registrationExpiresAt }: Registration,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Date> {
  const expires = new Date(Date.now() + expiresIn * 1_000)
  await save(tokenFile(session, environment), {
    startUrl: session.startUrl,
    region: session.region,
    accessToken,
    expiresAt: utc(expires),
    clientId,
    clientSecret,
    registrationExpiresAt,
    ...(refreshToken !== undefined && { refreshToken }),
  })
  return expires
}

/** As the AWS CLI writes times. */
export function utc(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, 'Z')
}

/** Replaces a file whole, so that another program never reads half of it. Only its owner can read it. */
async function save(file: string, content: object): Promise<void> {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  try {
    await mkdir(join(file, '..'), { recursive: true, mode: 0o700 })
    const handle = await open(draft, 'wx', 0o600)
    try {
      await handle.writeFile(JSON.stringify(content, null, 2))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(draft, file)
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {})
    throw new ProxyError('SIGN_IN_FAILED', `cannot write ${file}: ${systemCode(cause)}`, {
      cause,
      hint: 'Let this user write to ~/.aws/sso/cache.',
    })
  }
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex')
}
