import { test } from 'tap'
import type { FoundTarget } from '../../src/aws/load-balancers.ts'
import type { Finding, StepLog } from '../../src/check/steps.ts'
import { checkTargetGroup } from '../../src/check/target-group.ts'

const ARN = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/mysql/0123456789abcdef'
const READERS = { host: 'shop.cluster-ro-abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306 }

function checkTargets(addresses: string[], present: string[], more: Partial<FoundTarget> = {}) {
  const warnings: { code: Finding['code']; snippets: string[] }[] = []
  const facts: string[] = []
  const log: StepLog = {
    fact: (_name, value) => void facts.push(...value),
    warn: ({ code }, advice = []) =>
      void warnings.push({ code, snippets: advice.map(({ snippet = '' }) => snippet.split(' \\', 1)[0]!) }),
    progress() {},
  }
  const targets = addresses.map(address => ({
    address,
    port: 3306,
    zone: undefined,
    state: 'healthy',
    why: undefined,
    ...more,
  }))
  const problem = checkTargetGroup(
    { name: 'mysql', arn: ARN, type: 'ip', protocol: 'TCP', targets },
    present,
    READERS,
    log,
  )
  return { problem, warnings, facts }
}

test('a reader endpoint resolves to one reader at a time: the targets of the others stay', async t => {
  t.same(checkTargets(['10.0.0.1', '10.0.0.2'], ['10.0.0.1']).warnings, [])
  const { warnings } = checkTargets(['10.0.0.2'], ['10.0.0.1'])
  t.same(warnings, [
    { code: 'NLB_TARGETS_STALE', snippets: ['aws elbv2 register-targets', 'mysql-iam-proxy sync-targets'] },
  ])
})

test('without the addresses of the database, nothing is compared', async t => {
  const { problem, warnings, facts } = checkTargets(['10.0.0.1'], [], { port: 3307 })
  t.equal(problem, undefined)
  t.same(warnings, [])
  t.same(facts, ['10.0.0.1:3307 healthy'])
  t.match(checkTargets(['10.0.0.1'], [], { state: 'draining' }).problem, {
    error: { code: 'NLB_TARGETS_MISSING' },
    advice: [{ text: /^sync-targets does this/ }],
  })
})
