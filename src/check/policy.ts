/**
 * The IAM policy that allows a login to a database.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
 */

export interface DatabaseUser {
  partition: string
  region: string
  /** 12 digits; undefined: any */
  account: string | undefined
  /** `db-…`, `cluster-…` or `prx-…`; undefined: any */
  resourceId: string | undefined
  user: string
}

/**
 * A name in a policy that stands only for itself: `*`, `?` and `${…}` mean something there.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-infotouse
 */
function literal(name: string): string {
  return name.replace(/[*?$]/g, character => `\${${character}}`)
}

/** `arn:aws:rds-db:REGION:ACCOUNT:dbuser:RESOURCE_ID/USER`, with `*` for unknown parts. */
export function databaseUserArn({ partition, region, account, resourceId, user }: DatabaseUser): string {
  return `arn:${partition}:rds-db:${region}:${account ?? '*'}:dbuser:${resourceId ?? '*'}/${literal(user)}`
}

/** The policy as JSON to copy. Each ARN has a separate line, because it is longer than most terminals are wide. */
export function connectPolicy(user: DatabaseUser, ...more: DatabaseUser[]): string {
  const resource = more.length === 0 ? databaseUserArn(user) : [user, ...more].map(databaseUserArn)
  const statement = { Effect: 'Allow', Action: 'rds-db:connect', Resource: resource }
  const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2)
  return policy.replace('"Resource": "', '"Resource":\n"')
}

/**
 * The partition of a region, used if no ARN of the account is known.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
 */
export function partitionOf(region: string): string {
  const prefixes = {
    'cn-': 'aws-cn',
    'us-gov-': 'aws-us-gov',
    'us-iso-': 'aws-iso',
    'us-isob-': 'aws-iso-b',
    'eu-isoe-': 'aws-iso-e',
    'us-isof-': 'aws-iso-f',
    'eusc-': 'aws-eusc',
  }
  return Object.entries(prefixes).find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'aws'
}
