/** What is known of the path of a login: each step of check adds to it, and advice is made of it. */
import { type Endpoint, hintValues } from '../endpoint.ts'
import type { ProxyOptions } from '../index.ts'
import type { Credentials } from '../token.ts'
import type { Target, Upstream } from '../upstream.ts'
import type { Database, LoadBalancer } from './aws.ts'
import type { Identity } from './credentials.ts'

export interface Path {
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
  rdsSays?: Database | null | undefined
  loadBalancer?: LoadBalancer | undefined
}

/** Whether something else than the database is dialled: a load balancer, a tunnel. */
export function isIndirect({ dial, rds }: Endpoint): boolean {
  return dial.host !== rds.host
}

export function hintValuesOf(path: Path | undefined): Record<string, string | undefined> {
  return path ? hintValues(path.target.endpoint, path.user) : {}
}
