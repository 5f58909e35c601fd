/** What check knows about the login so far. Each step adds to it. Advice and the report use it. */

import type { X509Certificate } from 'node:crypto'
import type { UserAuthConfigInfo } from '@aws-sdk/client-rds'
import type { Credentials } from '../aws/credentials.ts'
import { apiRegion, hintValues } from '../endpoint.ts'
import type { CheckedOptions } from '../proxy/option-table.ts'
import type { Upstream } from '../upstream/dial.ts'
import type { LoginTarget } from '../upstream/login.ts'
import type { Advice } from './steps.ts'

export interface Context {
  /** as for serving */
  options: CheckedOptions
  target: LoginTarget
  /** the profile to get credentials from; undefined: the whole chain */
  profile: string | undefined
  credentials: () => Promise<Credentials>
  user: string
  database: string | undefined
  /** whether to inspect RDS and the load balancer too */
  aws: boolean
  /** whether to count round trips */
  report: boolean
  stop: AbortSignal
  /** run in reverse order at the end */
  cleanup: (() => Promise<void> | void)[]
  /** the owner of the credentials; undefined if STS did not answer */
  identity?: Identity | undefined
  /** milliseconds that the clock of this machine is ahead of AWS; undefined if AWS did not answer */
  clockAhead?: number | undefined
  /** the addresses of both names */
  addresses?: { dial: string[]; rds: string[] }
  /** its greeting has arrived, and nothing was sent */
  upstream?: Upstream
  /** the id of the access key that signs tokens */
  accessKeyId?: string
  /** in bytes */
  tokenLength?: number
  /** of the connection that checked the certificate */
  tls?: TlsFacts
  /** from the greeting to the OK_Packet of a login; only with a report */
  roundTrips?: number
  /** the settings of the server that check reads */
  variables?: Readonly<Record<string, string>>
  /** the names on the server's certificate */
  certificateNames?: string[]
  /** the region of the server, from its certificate or else from DNS; only for an Aurora global endpoint */
  serverRegion?: string | undefined
  /** the subject of the last certificate of the server's chain */
  certificateRoot?: string
  /** the database as RDS describes it; null if RDS did not answer */
  rdsDatabase?: Database | null | undefined
  loadBalancer?: LoadBalancer | undefined
}

export function hintValuesOf(context: Context | undefined): Record<string, string | undefined> {
  if (!context) return {}
  const values = hintValues(context.target.endpoint, context.user)
  return context.serverRegion ? { ...values, region: context.serverRegion } : values
}

/** The region of the database as far as check knows it: the region that tokens are signed for, or that to call AWS in. */
export function regionOfDatabase({ target, serverRegion }: Context): string {
  const { rds } = target.endpoint
  return rds.region ?? serverRegion ?? apiRegion(rds)
}

export interface TlsFacts {
  protocol: string
  cipher: string
  /** of the key exchange */
  group: string
  /** from the server's certificate up */
  chain: X509Certificate[]
}

/** The database behind an endpoint, as RDS describes it. */
export interface Database {
  kind: 'instance' | 'cluster' | 'proxy'
  /** the name for RDS commands */
  identifier: string
  /** for the policy: `db-…`, `cluster-…` or `prx-…` */
  resourceId: string | undefined
  /** undefined if RDS does not say */
  iamAuthentication: boolean | undefined
  status: string
  /** certificate authority of an instance */
  ca: string | undefined
  engine: string | undefined
  /** of an Aurora Global Database: its clusters, the writer's first */
  members?: GlobalMember[] | undefined
  /** of an RDS Proxy: its two logins */
  proxy?: ProxyAuthentication | undefined
}

/** One cluster of an Aurora Global Database. Each may become the writer's. */
export interface GlobalMember {
  region: string
  identifier: string
  /** undefined if RDS did not answer in that region */
  resourceId: string | undefined
  iamAuthentication: boolean | undefined
}

/**
 * How clients log in to an RDS Proxy, and how it logs in to the database.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-iam-setup.html
 */
export interface ProxyAuthentication {
  /** `end-to-end`: also the proxy logs in with IAM. `standard`: it logs in with passwords from Secrets Manager */
  mode: 'standard' | 'end-to-end'
  /** the whole list of secrets, because modify-db-proxy replaces it as a whole */
  auth: UserAuthConfigInfo[]
  /** the ARN of the role that reads the secrets or logs in to the database */
  role: string | undefined
}

/** The load balancer to connect to, as ELB describes it. */
export interface LoadBalancer {
  /** seconds; undefined if ELB does not say */
  idleTimeout: number | undefined
  /** the commands that correct its targets */
  advice?: Advice[]
}

/** The owner of credentials, as STS describes it. */
export interface Identity {
  arn: string
  account: string
}
