import { createHash, createHmac } from 'node:crypto'

export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

export interface SignTokenOptions {
  host: string
  port: number
  region: string
  user: string
  credentials: Credentials
  /** the time of signing; now by default */
  date?: Date
  /** seconds; 900 by default */
  expires?: number
}

/** An IAM token for a database login: a SigV4 presigned URL without its scheme. */
export function signToken({ host, port, region, user, credentials, date, expires }: SignTokenOptions): string {
  const time = (date ?? new Date()).toISOString().replace(/[-:]|\.\d+/g, '')
  const day = time.slice(0, 8)
  const scope = `${day}/${region}/rds-db/aws4_request`
  const parameters: Record<string, string> = {
    Action: 'connect',
    DBUser: user,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${credentials.accessKeyId}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(expires ?? 900),
    'X-Amz-SignedHeaders': 'host',
  }
  if (credentials.sessionToken !== undefined) parameters['X-Amz-Security-Token'] = credentials.sessionToken
  const query = Object.entries(parameters)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&')
  const request = ['GET', '/', query, `host:${host}:${port}`, '', 'host', sha256('')].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(request)].join('\n')
  const key = [day, region, 'rds-db', 'aws4_request'].reduce<string | Buffer>(
    hmac,
    `AWS4${credentials.secretAccessKey}`,
  )
  return `${host}:${port}/?${query}&X-Amz-Signature=${hmac(key, toSign).toString('hex')}`
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
