/**
 * SigV4 for the WebSocket of Session Manager's data channel, as current versions of the plugin sign it.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { createHash, createHmac } from 'node:crypto'
import type { Credentials } from '../aws/credential-types.ts'

export interface SignedGet {
  url: URL
  region: string
  /** as AWS calls it in signatures: `ssmmessages` */
  service: string
  credentials: Credentials
  date: Date
}

/** The headers of a GET request without a body, besides `host`. */
export function signGet({ url, region, service, credentials, date }: SignedGet): Record<string, string> {
  const time = date.toISOString().replace(/[-:]|\.\d+/g, '')
  const day = time.slice(0, 8)
  const { accessKeyId, secretAccessKey, sessionToken } = credentials
  const added = {
    'x-amz-date': time,
    ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
  }
  const headers = Object.entries({ host: url.host, ...added })
  const names = headers.map(([name]) => name).join(';')
  const query = [...url.searchParams]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&')
  const canonicalRequest = [
    'GET',
    // The path of the URL is encoded already, and is encoded once more.
    url.pathname.split('/').map(encode).join('/'),
    query,
    headers.map(([name, value]) => `${name}:${value}\n`).join(''),
    names,
    sha256(''),
  ].join('\n')
  const scope = `${day}/${region}/${service}/aws4_request`
  const text = ['AWS4-HMAC-SHA256', time, scope, sha256(canonicalRequest)].join('\n')
  const key = [day, region, service, 'aws4_request'].reduce<Buffer>(hmac, Buffer.from(`AWS4${secretAccessKey}`))
  const signature = hmac(key, text).toString('hex')
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`
  return { ...added, authorization }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** All but the unreserved characters of RFC 3986. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    character => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
