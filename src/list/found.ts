/** What `list` finds. docs/list.md documents these fields: they are the JSON output. */
import type { ErrorCode } from '../error-codes.ts'

export interface Found {
  /** sorted by profile, region and name */
  databases: FoundDatabase[]
  /** what could not be found out, and why */
  problems: Problem[]
  /** false if databases or endpoints may be missing; `problems` says which */
  complete: boolean
  /**
   * With all regions: those that reject credentials that other regions accept. Usually the account has not enabled them, or
   * the session token is not valid there.
   */
  rejectedRegions: Scope[]
}

/** Where something was found, and with which credentials. */
export interface Scope {
  /** a profile of ~/.aws/config; undefined: the credential chain of the AWS SDK */
  profile: string | undefined
  region: string
}

/** A database that speaks MySQL's protocol, as RDS describes it. */
export interface FoundDatabase extends Scope {
  kind: 'instance' | 'cluster' | 'proxy'
  /** the name for RDS commands */
  identifier: string
  /** 12 digits */
  account: string | undefined
  /** `mysql`, `mariadb`, `aurora-mysql`; of an RDS Proxy its family, `mysql` */
  engine: string
  /** as RDS writes it; RDS Proxy has none */
  version: string | undefined
  /** as RDS writes it, for example `available` or `stopped` */
  status: string
  /**
   * Whether the database takes IAM tokens. For an RDS Proxy, `required` if every user needs a token, and `some` if that
   * depends on the user.
   */
  iam: 'on' | 'off' | 'required' | 'some' | 'unknown'
  /** whether its name may have an address on the internet; undefined if RDS does not say */
  public: boolean | undefined
  vpc: string | undefined
  /** the cluster that this instance is a member of */
  cluster: string | undefined
  /** whether it pauses when nobody uses it, so that a connection would wake it up */
  pauses: boolean
  /** empty while the database is being created */
  endpoints: FoundEndpoint[]
}

/** A name that clients connect to, and tokens are signed for. */
export interface FoundEndpoint {
  /** what `mysql-iam-proxy add` takes: unique within a profile and region */
  name: string
  role: 'instance' | 'writer' | 'reader' | 'custom' | 'proxy'
  host: string
  port: number
  /** what the host resolves to on this machine; for readers, also the addresses of the cluster's instances */
  addresses: string[]
  /** the Network Load Balancers whose targets have such an address and this port */
  loadBalancers: FoundLoadBalancer[]
  /** undefined if it was not asked for */
  reach: Reach | undefined
}

/** A TCP listener of a Network Load Balancer. */
export interface FoundLoadBalancer extends Scope {
  name: string
  host: string
  port: number
  scheme: 'internal' | 'internet-facing' | undefined
  targetGroupArn: string
  /** the targets that are addresses of the database */
  targets: { address: string; health: string }[]
  reach: Reach | undefined
}

/** Whether this machine reaches the database at one address. */
export interface Reach {
  /**
   * `yes`: the server there presented the certificate of the endpoint. `other`: another server answered. `no`: nobody
   * answered. `not-tried`: see the reason
   */
  state: 'yes' | 'no' | 'other' | 'not-tried'
  /** undefined for `yes` and `not-tried` */
  code: ErrorCode | undefined
  reason: string | undefined
  /** from the start of the TCP connection to the verified certificate; only for `yes` */
  milliseconds: number | undefined
}

/** Something that could not be found out. */
export interface Problem {
  profile: string | undefined
  /** undefined: in every region */
  region: string | undefined
  /** as IAM policies name it; undefined: the credentials themselves */
  action: string | undefined
  code: ErrorCode
  message: string
  hint: string
  /** what is therefore unknown */
  unknown: string
}

/** The address to dial for an endpoint: itself, or a load balancer in front of it. */
export interface Way {
  /** undefined: the endpoint itself */
  loadBalancer: FoundLoadBalancer | undefined
  /** undefined if it was not tried */
  isReachable: boolean | undefined
}

/**
 * The best way from this machine to the endpoint. One that works comes first, and the endpoint itself before a load balancer;
 * if none works, the load balancer of a private database.
 */
export function wayTo(endpoint: FoundEndpoint): Way {
  const isReachable = (reach: Reach | undefined) =>
    reach === undefined || reach.state === 'not-tried' ? undefined : reach.state === 'yes'
  const ways: Way[] = [undefined, ...endpoint.loadBalancers].map(loadBalancer => ({
    loadBalancer,
    isReachable: isReachable((loadBalancer ?? endpoint).reach),
  }))
  return ways.find(way => way.isReachable) ?? ways.find(way => way.loadBalancer) ?? ways[0]!
}
