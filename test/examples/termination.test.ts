/** Kubernetes: a pod of the examples ends while its application still uses the database. The test plays the kubelet. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { readYaml, starts, type Value } from '../support/examples.ts'
import { type RealServer, realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'
import { until } from '../support/raw-client.ts'

interface Container {
  child: ChildProcess
  lines: string[]
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
}

/**
 * The containers of a pod in the order in which the kubelet sends SIGTERM: each group only after those before it have exited.
 * https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#sidecar-containers-and-pod-lifecycle
 */
function stopOrder(pod: Value): string[][] {
  const sidecars = (pod.initContainers ?? []).filter(({ restartPolicy }: Value) => restartPolicy === 'Always')
  const names = (containers: Value[]) => containers.map(({ name }: Value) => String(name))
  return [
    names(pod.containers),
    ...names(sidecars)
      .reverse()
      .map(name => [name]),
  ]
}

/** A transaction that is open at SIGTERM, goes on and commits; then `more` transactions on new connections. */
const APPLICATION = `
import mysql from 'mysql2/promise'
const [port, more] = process.argv.slice(1)
const connect = () => mysql.createConnection({ host: '127.0.0.1', port: Number(port), user: 'iam_user' })
let isStopping = false
process.on('SIGTERM', () => { isStopping = true })
const connection = await connect()
await connection.beginTransaction()
console.log('querying')
while (!isStopping) await connection.query('SELECT 1')
for (let time = 0; time < 50; time++) await connection.query('SELECT 1')
await connection.commit()
for (let time = 0; time < Number(more); time++) {
  const another = await connect()
  await another.beginTransaction()
  await another.query('SELECT 1')
  await another.commit()
  await another.end()
}
console.log('done')
connection.destroy()
`

function watch(t: Test, child: ChildProcess): Container {
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  for (const stream of [child.stdout!, child.stderr!]) createInterface(stream).on('line', line => lines.push(line))
  return { child, lines, exited: once(child, 'close') as Container['exited'] }
}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The proxy as the example sets it, but for this test's database and free ports. */
async function startProxy(t: Test, path: string, server: RealServer): Promise<Container> {
  const ca = join(t.testdir({}), 'ca.pem')
  await writeFile(ca, server.ca)
  const { environment } = starts().find(({ where }) => where.startsWith(`${path} `))!
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
  const addresses = Object.keys(environment).filter(name => name.endsWith('_LISTEN'))
  const env = {
    ...Object.fromEntries(inherited),
    ...environment,
    ...Object.fromEntries(addresses.map(name => [name, '127.0.0.1:0'])),
    MYSQL_IAM_PROXY_RDS_ENDPOINT: `${server.rdsHost}:${server.rdsPort}`,
    MYSQL_IAM_PROXY_CONNECT: `${server.host}:${server.port}`,
    MYSQL_IAM_PROXY_USER: 'iam_user',
    MYSQL_IAM_PROXY_CA: ca,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
  }
  const [command, ...args] = PROGRAM
  return watch(t, spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env }))
}

for (const [path, more, proxyEndsWith] of [
  ['kubernetes/sidecar.yaml', 5, 143],
  ['kubernetes/job.yaml', 5, 0],
  // Both containers get the signal at once, so only the open transaction goes on.
  ['kubernetes/job-quitquitquit.yaml', 0, 143],
] as const) {
  test(`${path}: the application uses the database until it exits`, async t => {
    const server = await realServer(t)
    const pod = readYaml(path).find(({ spec }) => spec?.template)!.spec.template.spec
    const proxy = await startProxy(t, path, server)
    const port = () => proxy.lines.flatMap(line => /listening on 127[^"]*?:(\d+);/.exec(line)?.[1] ?? [])[0]
    await until(`the proxy listens: ${proxy.lines}`, () => port() !== undefined)
    const args = ['--input-type=module', '--eval', APPLICATION, port()!, String(more)]
    const application = watch(t, spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] }))
    await until('the application queries', () => application.lines.includes('querying'))

    const stopped: string[] = []
    for (const names of stopOrder(pod)) {
      const containers = names.map(name => (name === 'mysql-iam-proxy' ? proxy : application))
      for (const { child } of containers) child.kill('SIGTERM')
      await Promise.all(containers.map(({ exited }) => exited))
      stopped.push(names.join(' and '))
    }
    t.equal(stopped.at(-1), path.includes('quit') ? 'mysql-iam-proxy and report' : 'mysql-iam-proxy', 'the last ones')
    t.same(application.lines, ['querying', 'done'], 'without an error')
    t.same(await application.exited, [0, null])
    t.same(await proxy.exited, [proxyEndsWith, null])
  })
}
