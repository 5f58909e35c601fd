/** A cluster of Aurora or Multi-AZ, as RDS describes it. */
import type { RDSClient } from '@aws-sdk/client-rds'
import { callAws } from '../aws/api.ts'
import type { Database } from './context.ts'

/** The result of a search; undefined if nothing was found. */
export type Found<Value> = Promise<Value | undefined>

/** @param host one of the cluster's endpoints; undefined if the name is known to be right */
export async function findCluster(client: RDSClient, name: string, host: string | undefined): Found<Database> {
  const { DescribeDBClustersCommand } = await import('../aws/sdk-rds.ts')
  const command = new DescribeDBClustersCommand({ DBClusterIdentifier: name })
  const answer = await callAws('rds:DescribeDBClusters', () => client.send(command))
  const cluster = answer?.DBClusters?.find(
    ({ Endpoint, ReaderEndpoint }) =>
      host === undefined || Endpoint?.toLowerCase() === host || ReaderEndpoint?.toLowerCase() === host,
  )
  return cluster && toDatabase(cluster)
}

interface ClusterOfRds {
  DBClusterIdentifier?: string | undefined
  DbClusterResourceId?: string | undefined
  IAMDatabaseAuthenticationEnabled?: boolean | undefined
  Status?: string | undefined
  Engine?: string | undefined
  EngineVersion?: string | undefined
}

export function toDatabase(cluster: ClusterOfRds): Database {
  return {
    kind: 'cluster',
    identifier: cluster.DBClusterIdentifier ?? '',
    resourceId: cluster.DbClusterResourceId,
    iamAuthentication: cluster.IAMDatabaseAuthenticationEnabled,
    status: cluster.Status ?? 'unknown',
    ca: undefined,
    engine: engineOf(cluster),
  }
}

export function engineOf({ Engine, EngineVersion }: ClusterOfRds): string | undefined {
  return Engine && `${Engine} ${EngineVersion ?? ''}`.trim()
}
