/**
 * The Aurora Global Database behind its writer endpoint: the clusters of all its regions, each with its own resource id and
 * its own IAM authentication.
 * https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeGlobalClusters.html
 */
import { resolveCname } from 'node:dns/promises'
import type { GlobalClusterMember } from '@aws-sdk/client-rds'
import { clientSettings } from '../aws/api.ts'
import { globalMembers } from '../aws/global-members.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { regionOf } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { findCluster } from './cluster.ts'
import { type Context, type Database, type GlobalMember, regionOfDatabase } from './context.ts'

/** A global endpoint is an alias of its cluster's endpoint, and that of an instance's. */
const MAX_ALIASES = 4

/** @throws ProxyError AWS_…, CREDENTIALS_REJECTED */
export async function describeGlobalDatabase(context: Context): Promise<Database> {
  const { host, region: given } = context.target.endpoint.rds
  if (given === undefined) context.serverRegion ??= await regionByDns(host)
  const region = regionOfDatabase(context)
  const members = await findMembers(context, region)
  const writer = members.find(({ IsWriter }) => IsWriter)
  if (!writer)
    throw new ProxyError('AWS_NOT_FOUND', `RDS has no global database with the endpoint ${host} in ${region}`)
  const ordered = [writer, ...members.filter(member => member !== writer)]
  const clusters = await Promise.all(ordered.map(member => describeMember(context, member)))
  const [database] = clusters
  if (!database?.cluster) {
    throw new ProxyError('AWS_NOT_FOUND', `RDS does not describe the writer of ${host}, ${writer.DBClusterArn}`)
  }
  context.serverRegion ??= database.member.region
  return { ...database.cluster, members: clusters.map(({ member }) => member) }
}

async function findMembers(context: Context, region: string): Promise<GlobalClusterMember[]> {
  const { credentials, profile, target } = context
  const { RDSClient } = await import('../aws/sdk-rds.ts')
  const client = new RDSClient(clientSettings(region, credentials, createAwsAgent({ profile })))
  try {
    return await globalMembers(client, target.endpoint.rds.host)
  } finally {
    client.destroy()
  }
}

/** The cluster in its own region; without it if RDS does not answer there. */
async function describeMember(context: Context, { DBClusterArn = '' }: GlobalClusterMember) {
  // arn:aws:rds:REGION:ACCOUNT:cluster:NAME
  const [, , , region = '', , , identifier = ''] = DBClusterArn.split(':')
  const { credentials, profile } = context
  const { RDSClient } = await import('../aws/sdk-rds.ts')
  const client = new RDSClient(clientSettings(region, credentials, createAwsAgent({ profile })))
  try {
    const cluster = await findCluster(client, identifier, undefined).catch(() => undefined)
    const { resourceId, iamAuthentication } = cluster ?? {}
    const member: GlobalMember = { region, identifier, resourceId, iamAuthentication }
    return { cluster, member }
  } finally {
    client.destroy()
  }
}

/** The region in the name that a global endpoint is an alias of; undefined if DNS does not show one. */
export async function regionByDns(host: string, resolve = resolveCname): Promise<string | undefined> {
  let name = host
  for (let aliases = 0; aliases < MAX_ALIASES; aliases++) {
    const [next] = await resolve(name).catch(() => [])
    if (next === undefined) return undefined
    const region = regionOf(next.toLowerCase().replace(/\.$/, ''))
    if (region !== undefined) return region
    name = next
  }
  return undefined
}
