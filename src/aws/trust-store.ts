/**
 * AWS's trust store: where the CA certificates of RDS are, and how they are downloaded.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html (commercial regions, GovCloud)
 * https://docs.amazonaws.cn/en_us/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html (China)
 */
import { type RequestOptions, request } from 'node:https'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { createAwsAgent } from './https-agent.ts'

/** One host serves both regions of GovCloud, and one both of China. Commercial regions have two letters, a word and a number. */
const HOSTS: readonly [region: RegExp, host: string][] = [
  [/^cn-[a-z]+-\d+$/, 'rds-truststore.s3.cn-north-1.amazonaws.com.cn'],
  [/^us-gov-[a-z]+-\d+$/, 'truststore.pki.us-gov-west-1.rds.amazonaws.com'],
  [/^[a-z]{2}-[a-z]+-\d+$/, 'truststore.pki.rds.amazonaws.com'],
]

/** The CA certificates of all commercial regions. */
export const GLOBAL_BUNDLE_URL = 'https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem'

/** The URL of a region's bundle. Undefined for partitions whose trust store AWS does not document in public: the European Sovereign Cloud and the isolated ones. */
export function bundleUrl(region: string): string | undefined {
  const host = HOSTS.find(([pattern]) => pattern.test(region))?.[1]
  return host && `https://${host}/${region}/${region}-bundle.pem`
}

/** For the connection, the request and the whole answer. */
const DOWNLOAD_TIMEOUT_MS = 15_000

export interface DownloadOptions {
  maxBytes: number
  /** how to connect; default: as all calls to AWS, through HTTPS_PROXY and with AWS_CA_BUNDLE */
  connection?: Pick<RequestOptions, 'agent' | 'ca' | 'lookup' | 'port'> | undefined
  signal?: AbortSignal | undefined
  clock?: Clock | undefined
}

/**
 * The text at `url`, over HTTPS with a verified certificate. A redirect is an error: AWS's hosts send none, but captive
 * portals do.
 * @throws ProxyError TRUST_UPDATE_FAILED, or an error of the way to AWS: AWS_TLS_UNTRUSTED, AWS_ENVIRONMENT_INVALID, FORWARD_PROXY_…
 */
export async function download(url: string, options: DownloadOptions): Promise<string> {
  const { maxBytes, signal, clock = monotonicClock } = options
  const agent = options.connection ? undefined : createAwsAgent()
  const connection = options.connection ?? { agent }
  const failed = (problem: string, cause?: unknown) =>
    new ProxyError('TRUST_UPDATE_FAILED', `${url}: ${problem}`, { cause })
  let cancelTimer = () => {}
  const text = new Promise<string>((resolve, reject) => {
    const outgoing = request(url, { ...connection, signal, rejectUnauthorized: true, headers: { accept: '*/*' } })
    const giveUp = (error: ProxyError) => {
      reject(error)
      outgoing.destroy()
    }
    cancelTimer = clock.after(DOWNLOAD_TIMEOUT_MS, () =>
      giveUp(failed(`no complete answer within ${DOWNLOAD_TIMEOUT_MS / 1_000} s`)),
    )
    outgoing.on('error', error =>
      reject(error instanceof ProxyError ? error : failed(systemCode(error) || error.message, error)),
    )
    outgoing.once('response', answer => {
      const { statusCode = 0, headers } = answer
      const problem = statusProblem(statusCode, headers.location)
      if (problem) return giveUp(failed(problem))
      const tooLarge = () => giveUp(failed(`the answer is larger than ${maxBytes} bytes`))
      if (Number(headers['content-length']) > maxBytes) return tooLarge()
      const chunks: Buffer[] = []
      let bytes = 0
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > maxBytes) tooLarge()
        else chunks.push(chunk)
      })
      // Node.js reports an answer that is shorter than its Content-Length, or whose last chunk is missing.
      answer.on('error', error => reject(failed('the answer ended too early', error)))
      answer.once('end', () => resolve(Buffer.concat(chunks).toString()))
    })
    outgoing.end()
  })
  return await text.finally(() => {
    cancelTimer()
    agent?.destroy()
  })
}

function statusProblem(status: number, location: string | undefined): string | undefined {
  if (status === 200) return undefined
  if (location !== undefined) return `refused to follow a redirect (HTTP ${status}) to ${hostOf(location)}`
  // S3 answers 403 for a file that does not exist.
  if (status === 403 || status === 404) return `AWS has no such bundle (HTTP ${status})`
  return `HTTP ${status}`
}

function hostOf(location: string): string {
  return URL.canParse(location) ? new URL(location).host : 'another path'
}
