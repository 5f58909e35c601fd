/** The AWS calls of `list`, and the least IAM policy for them. */

/** What each call is for: what is unknown without it. */
export const ACTIONS = {
  'rds:DescribeDBInstances': 'DB instances, and the addresses of the instances of clusters',
  'rds:DescribeDBClusters': 'Aurora and Multi-AZ clusters, and their endpoints',
  'rds:DescribeDBProxies': 'RDS Proxies',
  'rds:DescribeDBProxyEndpoints': 'further endpoints of RDS Proxies',
  'elasticloadbalancing:DescribeTargetGroups': 'which load balancers lead to the databases',
  'elasticloadbalancing:DescribeTargetHealth': 'which load balancers lead to the databases',
  'elasticloadbalancing:DescribeListeners': 'which load balancers lead to the databases',
  'elasticloadbalancing:DescribeLoadBalancers': 'which load balancers lead to the databases',
} as const

/** Only for `--region all`. */
export const REGION_ACTIONS = {
  'rds:DescribeSourceRegions': 'the other regions',
} as const

export type Action = keyof typeof ACTIONS | keyof typeof REGION_ACTIONS

/** What is unknown without `action`. */
export function purposeOf(action: Action): string {
  return { ...ACTIONS, ...REGION_ACTIONS }[action]
}

/**
 * The policy as JSON to copy. The calls list everything, so they need the resource `*`.
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
 */
export function listPolicy({ allRegions }: { allRegions: boolean }): string {
  const actions = [...Object.keys(ACTIONS), ...(allRegions ? Object.keys(REGION_ACTIONS) : [])]
  const statement = { Effect: 'Allow', Action: actions, Resource: '*' }
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2)
}
