/** What check knows about the login so far. Each step adds to it, and advice uses it. */

import type { Credentials } from '../aws/credentials.ts'
import { hintValues } from '../endpoint.ts'
import type { ProxyOptions } from '../proxy/proxy.ts'
import type { Upstream } from '../upstream/dial.ts'
import type { LoginTarget } from '../upstream/login.ts'

export interface Context {
  /** as for serving */
  options: ProxyOptions
  target: LoginTarget
  /** the profile to get credentials from; undefined: the whole chain */
  profile: string | undefined
  credentials: () => Promise<Credentials>
  user: string
  database: string | undefined
  /** whether to inspect RDS and the load balancer too */
  aws: boolean
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
  /** the names on the server's certificate */
  certificateNames?: string[]
  /** the subject of the last certificate of the server's chain */
  certificateRoot?: string
  /** the database as RDS describes it; null if RDS did not answer */
  rdsDatabase?: Database | null | undefined
  loadBalancer?: LoadBalancer | undefined
}

export function hintValuesOf(context: Context | undefined): Record<string, string | undefined> {
  return context ? hintValues(context.target.endpoint, context.user) : {}
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
}

/** The load balancer to connect to, as ELB describes it. */
export interface LoadBalancer {
  /** seconds; undefined if ELB does not say */
  idleTimeout: number | undefined
}

/** The owner of credentials, as STS describes it. */
export interface Identity {
  arn: string
  account: string
}
