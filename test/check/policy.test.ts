import { test } from 'tap'
import { connectPolicy, databaseUserArn, partitionOf } from '../../src/check/policy.ts'

const account = '123456789012'

test('the ARN of a database user, in every partition and of every kind of database', t => {
  const cases: [region: string, resourceId: string, arn: string][] = [
    ['eu-west-1', 'db-ABC', 'arn:aws:rds-db:eu-west-1:123456789012:dbuser:db-ABC/iam_user'],
    ['eu-west-1', 'cluster-ABC', 'arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/iam_user'],
    ['eu-west-1', 'prx-0abc', 'arn:aws:rds-db:eu-west-1:123456789012:dbuser:prx-0abc/iam_user'],
    ['cn-north-1', 'db-ABC', 'arn:aws-cn:rds-db:cn-north-1:123456789012:dbuser:db-ABC/iam_user'],
    ['us-gov-west-1', 'db-ABC', 'arn:aws-us-gov:rds-db:us-gov-west-1:123456789012:dbuser:db-ABC/iam_user'],
    ['us-iso-east-1', 'db-ABC', 'arn:aws-iso:rds-db:us-iso-east-1:123456789012:dbuser:db-ABC/iam_user'],
    ['us-isob-east-1', 'db-ABC', 'arn:aws-iso-b:rds-db:us-isob-east-1:123456789012:dbuser:db-ABC/iam_user'],
    ['eusc-de-east-1', 'db-ABC', 'arn:aws-eusc:rds-db:eusc-de-east-1:123456789012:dbuser:db-ABC/iam_user'],
  ]
  for (const [region, resourceId, arn] of cases) {
    const user = { partition: partitionOf(region), region, account, resourceId, user: 'iam_user' }
    t.equal(databaseUserArn(user), arn)
    t.same(JSON.parse(connectPolicy(user)), {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Action: 'rds-db:connect', Resource: arn }],
    })
  }
  t.end()
})

test('unknown parts become *', t => {
  const user = { partition: 'aws', region: 'eu-west-1', account: undefined, resourceId: undefined, user: 'Iam_User' }
  t.equal(databaseUserArn(user), 'arn:aws:rds-db:eu-west-1:*:dbuser:*/Iam_User')
  t.end()
})

test('a name with wildcards or variables allows this user only', t => {
  const arn = (user: string) =>
    databaseUserArn({ partition: 'aws', region: 'eu-west-1', account, resourceId: 'db-A', user })
  const start = 'arn:aws:rds-db:eu-west-1:123456789012:dbuser:db-A/'
  t.equal(arn('a*'), `${start}a\${*}`)
  t.equal(arn('a?b'), `${start}a\${?}b`)
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the name of a user
  t.equal(arn('${aws:username}'), `${start}\${$}{aws:username}`)
  t.equal(arn('$${x}'), `${start}\${$}\${$}{x}`)
  t.end()
})

test('a name with quotes is valid JSON', t => {
  const user = { partition: 'aws', region: 'eu-west-1', account, resourceId: 'db-ABC', user: 'a"b\\' }
  t.match(JSON.parse(connectPolicy(user)), { Statement: [{ Resource: /dbuser:db-ABC\/a"b\\$/ }] })
  t.end()
})
