import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import type { Context } from '../../src/check/context.ts'
import { adviseOnSsmPolicy, adviseOnSsmTarget, noteSsm, ssmPolicy } from '../../src/check/ssm.ts'
import { readSsmTarget } from '../../src/ssm-target.ts'

const TASK = '0123456789abcdef0123456789abcdef'
const ECS = `ecs:my_cluster_${TASK}_${TASK}-1234567890`

function contextWith(ssmTarget: string | undefined): Context {
  const rds = { host: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306, region: 'eu-west-1' }
  const context = { options: { ssmTarget }, target: { endpoint: { rds } }, identity: { account: '123456789012' } }
  return context as unknown as Context
}

test('the policy of docs/ssm.md is the one that check prints', async t => {
  const page = await readFile(new URL('../../docs/ssm.md', import.meta.url), 'utf8')
  const documented = JSON.parse(/```json\n([\s\S]+?)```/.exec(page)![1]!)
  const [advice] = adviseOnSsmPolicy(contextWith('i-0123456789abcdef0'))
  t.same(JSON.parse(advice!.snippet!), documented)
})

test('the policy for other targets and partitions', t => {
  t.match(ssmPolicy(readSsmTarget(ECS)!, 'eu-west-1', '1'), `arn:aws:ecs:eu-west-1:1:task/my_cluster/${TASK}`)
  const managed = ssmPolicy(readSsmTarget('mi-0123456789abcdef0')!, 'cn-north-1')
  t.match(managed, 'arn:aws-cn:ssm:cn-north-1:*:managed-instance/mi-0123456789abcdef0')
  t.end()
})

test('commands that show whether the target is connected', t => {
  const commandFor = (target: string) => adviseOnSsmTarget(contextWith(target))[0]!.snippet
  t.match(
    commandFor('i-01234567'),
    'describe-instance-information --region eu-west-1 --filters Key=InstanceIds,Values=i-01234567',
  )
  t.match(commandFor(ECS), `describe-tasks --region eu-west-1 --cluster my_cluster --tasks ${TASK}`)
  t.same([...adviseOnSsmTarget(contextWith(undefined)), ...adviseOnSsmPolicy(contextWith(undefined))], [])
  t.end()
})

test('which way the tunnel takes', async t => {
  const noteFor = async (version: string | undefined) => {
    const facts: unknown[] = []
    const log = { fact: (...fact: unknown[]) => void facts.push(fact), warn: () => {}, progress: () => {} }
    await noteSsm(log, async () => version)
    return String(facts)
  }
  t.match(await noteFor(undefined), /no session-manager-plugin is installed; the proxy speaks the protocol itself/)
  t.match(await noteFor('1.2.707.0'), /session-manager-plugin 1\.2\.707\.0$/)
  t.match(await noteFor('1.2.463.0'), /1\.2\.463\.0 is not used: it is older than 1\.2\.498\.0/)
})
