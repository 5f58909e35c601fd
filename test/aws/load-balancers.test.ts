import { test } from 'tap'
import { isTcp, targetGroupsOf, targetsIn } from '../../src/aws/load-balancers.ts'

test('targets, also without what AWS may leave out', t => {
  const target = {
    Target: { Id: '10.0.1.10', Port: 3307, AvailabilityZone: 'all' },
    TargetHealth: { State: 'healthy' },
  } as const
  const unhealthy = {
    Target: { Id: '10.0.1.11' },
    TargetHealth: { Reason: 'Target.Timeout', State: 'unhealthy' },
  } as const
  t.same(targetsIn([target, unhealthy], { Port: 3306 }, 1), [
    { address: '10.0.1.10', port: 3307, zone: 'all', state: 'healthy', why: undefined },
    { address: '10.0.1.11', port: 3306, zone: undefined, state: 'unhealthy', why: 'Target.Timeout' },
  ])
  t.same(targetsIn([{}], {}, 3306), [{ address: '', port: 3306, zone: undefined, state: 'unknown', why: undefined }])
  t.end()
})

test('protocols that pass TCP on', t => {
  for (const protocol of ['TCP', 'TCP_UDP', 'TCP_QUIC']) t.ok(isTcp(protocol), protocol)
  for (const protocol of ['TLS', 'UDP', 'HTTP', 'TCPX', undefined]) t.notOk(isTcp(protocol), String(protocol))
  t.end()
})

test('the target groups of a listener, each once', t => {
  const ForwardConfig = { TargetGroups: [{ TargetGroupArn: 'a' }, { TargetGroupArn: 'b' }, {}] }
  const DefaultActions = [
    { Type: 'forward' as const, TargetGroupArn: 'a', ForwardConfig },
    { Type: 'fixed-response' as const },
  ]
  t.same(targetGroupsOf({ DefaultActions }), ['a', 'b'])
  t.same(targetGroupsOf({}), [])
  t.end()
})
