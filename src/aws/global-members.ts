/**
 * The clusters of an Aurora Global Database, as the RDS API names them.
 * https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeGlobalClusters.html
 */
import type { GlobalClusterMember, RDSClient } from '@aws-sdk/client-rds'
import { isGlobalEndpoint, regionOf } from '../endpoint.ts'
import { asProxyError } from '../errors.ts'
import { callAws, clientSettings } from './api.ts'
import type { CredentialsProvider } from './credentials.ts'
import { createAwsAgent } from './https-agent.ts'
import { withoutVersionNotice } from './version-notice.ts'

/** Logins wait for the answer, and a server gives a login 10 s. */
const CONFIRM_TIMEOUT_MS = 3_000

/** How long an answer that is not a confirmation counts. */
const KEEP_REFUSAL_MS = 10_000

/** The same for rejected credentials: each login would ask RDS, but new ones may come at any moment. */
const KEEP_FAILURE_MS = 1_000

/**
 * Resolves with undefined if one of the names on a certificate is the endpoint of a cluster of the global database, or else
 * with why that is not known.
 * @throws ProxyError CREDENTIALS_… if there are none to ask RDS with: they are the problem, not the certificate
 */
export type ConfirmMember = (certificateNames: readonly string[]) => Promise<string | undefined>

/** [] if RDS has no global database with the endpoint `host` in the client's region. @throws ProxyError AWS_…, CREDENTIALS_REJECTED */
export async function globalMembers(
  client: RDSClient,
  host: string,
  abortSignal?: AbortSignal,
): Promise<GlobalClusterMember[]> {
  const { DescribeGlobalClustersCommand } = await import('./sdk-rds.ts')
  const command = new DescribeGlobalClustersCommand({ GlobalClusterIdentifier: host.split('.')[0] })
  const answer = await callAws('rds:DescribeGlobalClusters', () =>
    client.send(command, abortSignal ? { abortSignal } : {}),
  )
  const found = answer?.GlobalClusters?.find(({ Endpoint }) => Endpoint?.toLowerCase() === host)
  return found?.GlobalClusterMembers ?? []
}

/** For the global endpoint `host`; undefined for other endpoints, whose certificate must name them. */
export function createConfirmMember(
  host: string,
  credentials: CredentialsProvider,
  profile: string | undefined,
): ConfirmMember | undefined {
  if (!isGlobalEndpoint(host)) return undefined
  const confirmed = new Set<string>()
  const answers = new Map<string, Promise<string | undefined>>()
  return async names => {
    const [cluster, another] = new Set(names.map(name => name.toLowerCase()).filter(isClusterEndpoint))
    if (cluster === undefined || another !== undefined) return 'it does not name one cluster'
    if (confirmed.has(cluster)) return undefined
    // One request for all logins that wait.
    const answer = answers.get(cluster) ?? confirm(host, cluster, credentials, profile)
    answers.set(cluster, answer)
    let keep = KEEP_FAILURE_MS
    try {
      const problem = await answer
      keep = problem === undefined ? 0 : KEEP_REFUSAL_MS
      if (problem === undefined) confirmed.add(cluster)
      return problem
    } finally {
      setTimeout(() => answers.delete(cluster), keep).unref()
    }
  }
}

/** Whether this is the writer endpoint of a cluster. */
function isClusterEndpoint(name: string): boolean {
  return /^[^.*]+\.cluster-(?!ro-|custom-)/.test(name) && regionOf(name) !== undefined
}

async function confirm(
  host: string,
  cluster: string,
  credentials: CredentialsProvider,
  profile: string | undefined,
): Promise<string | undefined> {
  const region = regionOf(cluster)!
  const { DescribeDBClustersCommand, RDSClient } = await import('./sdk-rds.ts')
  const settings = clientSettings(region, credentials, createAwsAgent({ profile }))
  const client = withoutVersionNotice(() => new RDSClient(settings))
  const abortSignal = AbortSignal.timeout(CONFIRM_TIMEOUT_MS)
  try {
    for (const { DBClusterArn = '' } of await globalMembers(client, host, abortSignal)) {
      if (DBClusterArn.split(':')[3] !== region) continue
      const command = new DescribeDBClustersCommand({ DBClusterIdentifier: DBClusterArn })
      const answer = await callAws('rds:DescribeDBClusters', () => client.send(command, { abortSignal }))
      if (answer?.DBClusters?.some(({ Endpoint }) => Endpoint?.toLowerCase() === cluster)) return undefined
    }
    return `RDS does not count ${cluster} among the clusters of the global database`
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (error.code.startsWith('CREDENTIALS_')) throw error
    return error.message
  } finally {
    client.destroy()
  }
}
