/** What is known of the path of a login: each step of check adds to it, and advice is made of it. */

import type { Credentials } from '../aws/credentials.ts'
import { hintValues } from '../endpoint.ts'
import type { ProxyOptions } from '../proxy/proxy.ts'
import type { Upstream } from '../upstream/dial.ts'
import type { Target } from '../upstream/login.ts'

export interface Context {
  /** as for serving */
  options: ProxyOptions
  target: Target
  /** the profile whose credentials are asked for by name; undefined: the whole chain */
  profile: string | undefined
  credentials: () => Promise<Credentials>
  user: string
  database: string | undefined
  /** whether to look at the AWS side as well */
  aws: boolean
  stop: AbortSignal
  /** run in reverse order when the walk is over */
  cleanup: (() => Promise<void> | void)[]
  /** whose credentials these are; undefined where STS could not be asked */
  identity?: Identity | undefined
  /** milliseconds that the clock of this machine is ahead of AWS; undefined where AWS could not be asked */
  clockAhead?: number | undefined
  /** the addresses of both names */
  addresses?: { dial: string[]; rds: string[] }
  /** greeted, and not answered */
  upstream?: Upstream
  /** the names on the server's certificate */
  certificateNames?: string[]
  /** the subject of the certificate that the server's chain ends with */
  certificateRoot?: string
  /** what RDS says of the database; null where it was asked and would not say */
  rdsDatabase?: Database | null | undefined
  loadBalancer?: LoadBalancer | undefined
}

export function hintValuesOf(path: Context | undefined): Record<string, string | undefined> {
  return path ? hintValues(path.target.endpoint, path.user) : {}
}

/** What RDS says of the database behind an endpoint. */
export interface Database {
  kind: 'instance' | 'cluster' | 'proxy'
  /** the name that RDS commands take */
  identifier: string
  /** of the policy: `db-…`, `cluster-…` or `prx-…` */
  resourceId: string | undefined
  /** undefined where RDS does not say */
  iamAuthentication: boolean | undefined
  status: string
  /** certificate authority of an instance */
  ca: string | undefined
  engine: string | undefined
}

/** What ELB says of the load balancer that is dialled. */
export interface LoadBalancer {
  /** seconds; undefined where ELB does not say */
  idleTimeout: number | undefined
}

/** What STS says of credentials. */
export interface Identity {
  arn: string
  account: string
}
