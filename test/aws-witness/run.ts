/**
 * Runs sync-targets and `check --aws`, as they are published, against moto: npm run aws-witness
 * The other tests use this project's own stand-ins, which share its understanding of the APIs.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateTargetGroupCommand,
  DeregisterTargetsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  type ProtocolEnum,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { CreateDBClusterCommand, CreateDBInstanceCommand, CreateDBProxyCommand, RDSClient } from '@aws-sdk/client-rds'
import { startDnsServer } from '../support/dns-server.ts'
import { freePort } from '../support/free-port.ts'
import { type Front, installMoto, NotInstalled, startMoto } from './moto.ts'

process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'

const REGION = 'eu-west-1'
const HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const PROGRAM = fileURLToPath(new URL('../../dist/bin/mysql-iam-proxy.js', import.meta.url))
const KEYS = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'secret-access-key-of-the-tests' }
// moto has one port for each address.
const [OLD, NEW, OTHER] = ['172.31.1.10', '172.31.2.20', '172.31.3.30']

let passed = 0
const failures: string[] = []

/** Runs one scenario and prints how it went. */
async function scenario(name: string, play: () => Promise<void>): Promise<void> {
  try {
    await play()
    passed++
    print(`ok - ${name}`)
  } catch (error) {
    failures.push(name)
    print(`not ok - ${name}\n    ${error instanceof Error ? error.message : error}`)
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function same(found: unknown, wanted: unknown, what: string): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${what}: ${left}, not ${right}`)
}

function matches(text: string, pattern: RegExp, what: string): void {
  if (!pattern.test(text)) throw new Error(`${what}: ${pattern} does not match: ${text}`)
}

/** Programs that a failed scenario left. */
const running = new Set<ChildProcess>()

interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** Starts the program against the front. */
function start(front: Front, args: string[]) {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: {
      PATH: process.env['PATH'],
      AWS_ENDPOINT_URL: front.url,
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
    },
  })
  const ran: Ran = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', data => {
    ran.stdout += data
  })
  child.stderr.on('data', data => {
    ran.stderr += data
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  const ended = once(child, 'close').then(([code]) => ({ ...ran, code: code as number }))
  return { child, ran, ended }
}

async function runAll(front: Front): Promise<void> {
  const settings = { region: REGION, credentials: KEYS, endpoint: front.url }
  const elb = new ElasticLoadBalancingV2Client(settings)
  const rds = new RDSClient(settings)
  const dns = await startDnsServer()
  const elsewhere = await startDnsServer()
  const { subnet, vpc } = await firstSubnet(front)
  const port = await freePort()

  const { LoadBalancers } = await elb.send(
    new CreateLoadBalancerCommand({ Name: 'my-nlb', Type: 'network', Scheme: 'internal', Subnets: [subnet] }),
  )
  const LoadBalancerArn = LoadBalancers![0]!.LoadBalancerArn!

  const createGroup = async (Name: string, Protocol: ProtocolEnum = 'TCP', Port = 3306) => {
    const command = new CreateTargetGroupCommand({ Name, Protocol, Port, VpcId: vpc, TargetType: 'ip' })
    return (await elb.send(command)).TargetGroups![0]!.TargetGroupArn!
  }
  const listen = async (TargetGroupArn: string, Port: number) =>
    void (await elb.send(
      new CreateListenerCommand({
        LoadBalancerArn,
        Protocol: 'TCP',
        Port,
        DefaultActions: [{ Type: 'forward', TargetGroupArn }],
      }),
    ))
  const targetsOf = async (TargetGroupArn: string) => {
    const { TargetHealthDescriptions } = await elb.send(new DescribeTargetHealthCommand({ TargetGroupArn }))
    return TargetHealthDescriptions!.map(({ Target }) => `${Target?.Id}:${Target?.Port}`).sort()
  }
  const register = async (TargetGroupArn: string, Id: string, Port = 3306) =>
    void (await elb.send(new RegisterTargetsCommand({ TargetGroupArn, Targets: [{ Id, Port }] })))

  const group = await createGroup('mysql')
  await listen(group, 3306)
  const sync = (args: string[], resolver = dns.address) =>
    start(front, [
      'sync-targets',
      ...['--rds-endpoint', HOST, '--target-group-arn', group, '--resolver', resolver, '--confirmations', '1'],
      ...args,
    ])
  const changes = () => front.calls.filter(call => /^(Der|R)egisterTargets$/.test(call)).length

  await scenario('sync-targets registers, then deregisters, then has nothing to do', async () => {
    await register(group, OLD)
    await register(group, OTHER, 3307)
    dns.answer({ addresses: [NEW] })
    const preview = await sync(['--dry-run']).ended
    same(preview.code, 10, preview.stderr)
    same(await targetsOf(group), [`${OLD}:3306`, `${OTHER}:3307`], 'targets after --dry-run')
    const changed = await sync([]).ended
    same(changed.code, 10, changed.stderr)
    same(await targetsOf(group), [`${NEW}:3306`, `${OTHER}:3307`], 'targets')
    same((await sync([]).ended).code, 0, 'exit code of the next pass')
  })

  await scenario('sync-targets changes nothing without a good answer of DNS', async () => {
    const before = changes()
    dns.answer('SERVFAIL')
    const refused = await sync([]).ended
    same(refused.code, 11, refused.stderr)
    matches(refused.stderr, /changed nothing: .*ESERVFAIL.*\nCheck the name servers/, 'error')
    dns.answer({ addresses: ['8.8.8.8'] })
    matches((await sync([]).ended).stderr, /not an address inside a VPC/, 'error')
    same(changes(), before, 'changes')
  })

  await scenario('sync-targets does not take a login page for an empty group', async () => {
    const before = changes()
    dns.answer({ addresses: [NEW] })
    front.instead = (_action, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Sign in</body></html>')
      return true
    }
    const failed = await sync([]).ended
    front.instead = undefined
    same(failed.code, 4, failed.stderr)
    matches(failed.stderr, /the answer is not from AWS/, 'error')
    same(changes(), before, 'changes')
  })

  await scenario('two copies with contradictory name servers stop, and both targets stay', async () => {
    dns.answer({ addresses: [OLD] })
    elsewhere.answer({ addresses: [NEW] })
    const args = ['--watch', '--interval', '1s', '--json']
    const copies = [sync(args), sync(args, elsewhere.address)]
    const passesOf = ({ ran }: (typeof copies)[0]) => ran.stdout.split('\n').filter(line => line !== '')
    const isDone = (copy: (typeof copies)[0]) => /keeps registering/.test(passesOf(copy).at(-1) ?? '')
    await until(() => copies.every(isDone))
    const [before, counts] = [changes(), copies.map(copy => passesOf(copy).length)]
    await until(() => copies.every((copy, index) => passesOf(copy).length >= counts[index]! + 3))
    same(changes(), before, 'changes after both copies have stopped')
    same(await targetsOf(group), [`${OLD}:3306`, `${NEW}:3306`, `${OTHER}:3307`], 'targets')
    for (const { child } of copies) child.kill('SIGTERM')
    for (const { ended } of copies) same((await ended).code, 143, 'exit code after SIGTERM')
  })

  const check = async (args: string[]) => {
    const { stdout, stderr } = await start(front, ['check', 'iam_user', '--region', REGION, '--aws', '--json', ...args])
      .ended
    if (!stdout.startsWith('{')) throw new Error(stderr)
    return JSON.parse(stdout) as { code: string; error?: Finding; steps: { warnings: Finding[] }[] }
  }
  const local = ['--rds-endpoint', `127.0.0.1:${port}`, '--connect', `localhost:${port}`]
  const checked = await createGroup('checked', 'TCP', port)
  await listen(checked, port)
  const only = async (...targets: [id: string, port: number][]) => {
    for (const target of await targetsOf(checked)) {
      const [Id, Port] = target.split(':')
      const command = { TargetGroupArn: checked, Targets: [{ Id, Port: Number(Port) }] }
      await elb.send(new DeregisterTargetsCommand(command))
    }
    for (const [id, port] of targets) await register(checked, id, port)
  }

  await scenario('check --aws: a group without targets, or with the wrong port', async () => {
    const empty = await check(local)
    same(empty.code, 'NLB_TARGETS_MISSING', 'code')
    matches(snippets(empty.error), /register-targets .*Id=127\.0\.0\.1.* sync-targets /, 'commands')
    await only(['127.0.0.1', port + 1])
    const wrong = await check(local)
    same(wrong.code, 'NLB_TARGETS_MISSING', 'code')
    matches(snippets(wrong.error), /deregister-targets .*Port=/, 'commands')
  })

  await scenario('check --aws: a stale target beside the right one', async () => {
    await only(['127.0.0.1', port], [OLD, port])
    const found = await check(local)
    same(found.code, 'DIAL_REFUSED', 'code, because nothing listens there')
    const stale = warningsOf(found).find(({ code }) => code === 'NLB_TARGETS_STALE')
    matches(snippets(stale), new RegExp(`^aws elbv2 deregister-targets .*Id=${OLD},Port=${port}`), 'commands')
  })

  await scenario('check --aws: target groups of other protocols', async () => {
    for (const [index, protocol] of (['UDP', 'TLS', 'HTTP'] as const).entries()) {
      const onPort = await freePort()
      const other = await createGroup(`other-${index}`, protocol, onPort)
      await listen(other, onPort)
      await register(other, '127.0.0.1', onPort)
      const { code } = await check(['--rds-endpoint', `127.0.0.1:${onPort}`, '--connect', `localhost:${onPort}`])
      same(code, 'NLB_TARGET_GROUP_NOT_TCP', `code for ${protocol}`)
    }
  })

  await scenario('check --aws: a database that is not MySQL', async () => {
    const created = await rds.send(
      new CreateDBInstanceCommand({
        DBInstanceIdentifier: 'other',
        Engine: 'postgres',
        DBInstanceClass: 'db.t4g.micro',
        AllocatedStorage: 20,
        MasterUsername: 'administrator',
        MasterUserPassword: 'password-of-the-tests',
      }),
    )
    const { Address = '', Port } = created.DBInstance!.Endpoint!
    const { code } = await check(['--rds-endpoint', `${Address}:${Port}`, '--connect', `localhost:${port}`])
    same(code, 'DATABASE_NOT_MYSQL', 'code')
  })

  const administrator = { MasterUsername: 'administrator', MasterUserPassword: 'password-of-the-tests' }
  const list = async (args: string[]) => {
    const { code, stdout, stderr } = await start(front, ['list', '--json', '--region', REGION, ...args]).ended
    if (!stdout.startsWith('{')) throw new Error(stderr)
    return { code, ...(JSON.parse(stdout) as Listed) }
  }

  await scenario('list: instances, clusters and RDS Proxies, without those of other engines', async () => {
    const instance = { DBInstanceClass: 'db.t4g.micro', AllocatedStorage: 20, ...administrator }
    const orders = {
      DBInstanceIdentifier: 'orders',
      Engine: 'mysql',
      Port: port,
      EnableIAMDatabaseAuthentication: true,
    }
    const created = await rds.send(new CreateDBInstanceCommand({ ...instance, ...orders, PubliclyAccessible: true }))
    for (const [DBClusterIdentifier, Engine] of [
      ['shop', 'aurora-mysql'],
      ['papers', 'aurora-postgresql'],
    ]) {
      await rds.send(new CreateDBClusterCommand({ DBClusterIdentifier, Engine, ...administrator }))
    }
    const member = { DBInstanceIdentifier: 'shop-1', DBClusterIdentifier: 'shop', Engine: 'aurora-mysql' }
    await rds.send(new CreateDBInstanceCommand({ ...member, DBInstanceClass: 'db.t4g.medium' }))
    const secret = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:app'
    for (const [DBProxyName, EngineFamily] of [
      ['pool', 'MYSQL'],
      ['pg-pool', 'POSTGRESQL'],
    ] as const) {
      const RoleArn = 'arn:aws:iam::123456789012:role/proxy'
      const Auth = [{ AuthScheme: 'SECRETS' as const, IAMAuth: 'REQUIRED' as const, SecretArn: secret }]
      await rds.send(new CreateDBProxyCommand({ DBProxyName, EngineFamily, RoleArn, Auth, VpcSubnetIds: [subnet] }))
    }
    const { databases, problems } = await list(['--aws-only'])
    const spoken = databases.map(({ kind, identifier, engine, iam, cluster = '', endpoints }) => {
      const names = endpoints.map(({ role, name, port }) => `${role} ${name} ${port}`).join(', ')
      return `${kind} ${identifier}: ${engine}, ${iam}, ${cluster}, ${names}`
    })
    same(
      spoken,
      [
        `instance orders: mysql, on, , instance orders ${port}`,
        'proxy pool: mysql, required, , proxy pool 3306',
        'cluster shop: aurora-mysql, off, , writer shop 3306, reader shop-reader 3306',
        'instance shop-1: aurora-mysql, off, shop, instance shop-1 3306',
      ],
      'databases',
    )
    // moto does not have this call.
    same(
      problems.map(({ action }) => action),
      ['rds:DescribeDBProxyEndpoints'],
      'problems',
    )
    front.localHost = created.DBInstance!.Endpoint!.Address
  })

  await scenario('list: the load balancer whose targets are the database', async () => {
    await only(['127.0.0.1', port], [OTHER, port])
    const { databases } = await list([])
    const [endpoint] = databases.find(({ identifier }) => identifier === 'orders')?.endpoints ?? []
    same(
      endpoint?.loadBalancers.map(({ name, port, targets }) => [name, port, targets.map(({ address }) => address)]),
      [['my-nlb', port, ['127.0.0.1']]],
      'load balancers',
    )
    same(endpoint?.reach?.code, 'DIAL_REFUSED', 'code, because nothing listens there')
  })

  await scenario('check --aws: an API that never answers', async () => {
    front.instead = action => action === 'DescribeLoadBalancers'
    const found = await check(local)
    front.instead = undefined
    const warning = warningsOf(found).find(({ message }) => message.includes('DescribeLoadBalancers'))
    same(warning?.code, 'AWS_UNREACHABLE', 'code')
    same(found.code, 'DIAL_REFUSED', 'the code of the step that follows')
  })

  await Promise.all([dns.close(), elsewhere.close()])
  elb.destroy()
  rds.destroy()
}

interface Finding {
  code: string
  message: string
  advice: { snippet?: string }[]
}

function warningsOf({ steps }: { steps: { warnings: Finding[] }[] }): Finding[] {
  return steps.flatMap(({ warnings }) => warnings)
}

/** Of docs/list.md. */
interface Listed {
  databases: {
    kind: string
    identifier: string
    engine: string
    iam: string
    public?: boolean
    cluster?: string
    endpoints: {
      name: string
      role: string
      host: string
      port: number
      loadBalancers: { name: string; port: number; targets: { address: string }[] }[]
      reach?: { state: string; code?: string }
    }[]
  }[]
  problems: { action: string; code: string; message: string }[]
}

/** All commands to copy, on one line. */
function snippets(finding: Finding | undefined): string {
  const text = (finding?.advice ?? []).map(({ snippet = '' }) => snippet).join(' ')
  return text.replace(/[\s\\]+/g, ' ')
}

/** moto has a default VPC. The client of EC2 is no dependency of this project. */
async function firstSubnet({ url }: Front): Promise<{ subnet: string; vpc: string }> {
  const scope = `${KEYS.accessKeyId}/20260101/${REGION}/ec2/aws4_request`
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0` },
    body: new URLSearchParams({ Action: 'DescribeSubnets', Version: '2016-11-15' }),
  })
  const text = await response.text()
  const [subnet, vpc] = [/<subnetId>([^<]+)/.exec(text)?.[1], /<vpcId>([^<]+)/.exec(text)?.[1]]
  if (!subnet || !vpc) throw new Error(`moto has no subnet: ${text.slice(0, 300)}`)
  return { subnet, vpc }
}

/** A scenario that makes no progress for this long has failed. */
const PATIENCE_MS = 300_000

async function until(isTrue: () => boolean): Promise<void> {
  const started = performance.now()
  while (!isTrue()) {
    if (performance.now() - started > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS / 1_000} s: ${isTrue}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

try {
  const moto = await startMoto(await installMoto())
  try {
    await runAll(moto.front)
  } finally {
    for (const child of running) child.kill('SIGKILL')
    await moto.stop()
  }
  print(`\n${passed} passed, ${failures.length} failed`)
  process.exitCode = failures.length > 0 ? 1 : 0
} catch (error) {
  if (!(error instanceof NotInstalled)) throw error
  print(`not run: ${error.message}`)
}
