import { test } from 'tap'
import { findDatabases } from '../../src/list/find.ts'
import { startAwsApi } from '../support/aws-api.ts'
import { setEnvironment } from '../support/check.ts'

const REST = 'abcdefghijkl.eu-west-1.rds.amazonaws.com'

test('an instance, found without a connection', async t => {
  setEnvironment(t, { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'eu-west-1' })
  await startAwsApi(t, {
    DescribeDBInstances: `<DBInstances><DBInstance><DBInstanceIdentifier>orders</DBInstanceIdentifier>
      <Engine>mysql</Engine><EngineVersion>8.4.6</EngineVersion><DBInstanceStatus>available</DBInstanceStatus>
      <Endpoint><Address>orders.${REST}</Address><Port>3306</Port></Endpoint></DBInstance></DBInstances>`,
    DescribeDBClusters: '<DBClusters/>',
    DescribeDBProxies: '<DBProxies/>',
    DescribeDBProxyEndpoints: '<DBProxyEndpoints/>',
    DescribeTargetGroups: '<TargetGroups/>',
  })
  const found = await findDatabases({ reach: false, tools: { resolve: async () => ['10.0.1.10'] } })
  t.match(found, { complete: true, problems: [], databases: [{ identifier: 'orders', region: 'eu-west-1' }] })
  t.match(found.databases[0]?.endpoints, [{ name: 'orders', role: 'instance', addresses: ['10.0.1.10'] }])
})
