/**
 * Shows on a real server that bad clients do not raise SUM_CONNECT_ERRORS in performance_schema.host_cache through the
 * proxy, and that they do without it. At max_connect_errors, a server blocks the address (ERROR 1129). See --help.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { DEFAULT_PORT, parseHostPort } from '../src/endpoint.ts'
import { type RealServer, startMariadb } from '../test/support/mariadb.ts'
import type { Experiment } from './connect-errors-run.ts'
import { buildIfStale } from './peers.ts'

const HELP = `npm run connect-errors -- [options]

Without --server, it starts a temporary MariaDB server and the proxy in separate network namespaces, because servers do
not count errors from loopback. This requires root and the program ip.

  --server HOST:PORT       a running test server, MySQL or MariaDB. It must see this machine at an address other than
                           loopback, with a name in reverse lookups (a line in the server's /etc/hosts). It blocks this
                           address for a moment, and nobody else may use it. It requires:
    --ca FILE              the CA of its certificate
    --rds-name NAME        the name on its certificate and in tokens
    --rds-port PORT        the port in tokens (default: 3306)
    --iam-user NAME        an account that logs in with tokens (credentials: AWS_ACCESS_KEY_ID and so on)
    --admin USER:PASSWORD  an account that may read and truncate performance_schema.host_cache
  --tries N                clients of each kind, through the proxy (default: 500)
  --control-tries N        clients of each kind, without the proxy (default: 20)
`

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean' },
    server: { type: 'string' },
    ca: { type: 'string' },
    'rds-name': { type: 'string' },
    'rds-port': { type: 'string' },
    'iam-user': { type: 'string' },
    admin: { type: 'string' },
    tries: { type: 'string', default: '500' },
    'control-tries': { type: 'string', default: '20' },
  },
})

const run = promisify(execFile)

const SERVER = '10.99.0.1'
const PROXY = '10.99.0.2'

const counts = { tries: Number(options.tries), controlTries: Number(options['control-tries']) }
let experimenting: ChildProcess | undefined
let interrupted = false

if (options.help) process.stdout.write(HELP)
else {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interrupted = true
      experimenting?.kill('SIGTERM')
    })
  }
  buildIfStale()
  process.exitCode = options.server ? await onGivenServer(options.server) : await inNamespaces()
}

async function onGivenServer(server: string): Promise<number> {
  const { ca, admin } = options
  const rdsName = options['rds-name']
  const iamUser = options['iam-user']
  if (!ca || !rdsName || !iamUser || !admin?.includes(':')) {
    process.stderr.write('--server requires --ca, --rds-name, --iam-user and --admin USER:PASSWORD\n')
    return 2
  }
  const address = parseHostPort(server, DEFAULT_PORT, '--server')
  const [user = '', password = ''] = admin.split(/:(.*)/s)
  const experiment: Experiment = {
    ...counts,
    server: address,
    rds: { host: rdsName, port: Number(options['rds-port'] ?? DEFAULT_PORT) },
    caFile: ca,
    iamUser,
    // This connection is not under test, so its certificate does not matter.
    admin: { ...address, user, password, ssl: { rejectUnauthorized: false } },
  }
  return await runExperiment(experiment, [], {})
}

async function inNamespaces(): Promise<number> {
  if (process.getuid?.() !== 0 || !(await run('ip', ['netns', 'list']).then(Boolean, () => false))) {
    process.stderr.write('This requires root and network namespaces (ip netns), or --server.\n')
    return 2
  }
  const serverSide = `miap-server-${process.pid}`
  const proxySide = `miap-proxy-${process.pid}`
  const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-connect-errors-'))
  let server: RealServer | undefined
  try {
    await makeNamespaces(serverSide, proxySide)
    server = await startMariadb({
      launcher: ['ip', 'netns', 'exec', serverSide],
      extraConfig: `bind-address=${SERVER}\nskip-name-resolve=OFF\nmax_connect_errors=100\nconnect_timeout=10`,
    })
    const caFile = join(scratch, 'ca.pem')
    await writeFile(caFile, server.ca)
    const experiment: Experiment = {
      ...counts,
      server: { host: SERVER, port: server.port },
      rds: { host: server.rdsHost, port: server.rdsPort },
      caFile,
      iamUser: 'iam_user',
      admin: { socketPath: server.socketPath, user: 'root' },
    }
    const { accessKeyId, secretAccessKey } = server.keys.longTerm
    const credentials = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }
    return await runExperiment(experiment, ['ip', 'netns', 'exec', proxySide], credentials)
  } finally {
    await server?.stop()
    await removeNamespaces(serverSide, proxySide)
    await rm(scratch, { recursive: true })
  }
}

/** Two namespaces with a veth pair. The machine's own network does not change. */
async function makeNamespaces(serverSide: string, proxySide: string): Promise<void> {
  // ip netns exec mounts this as /etc/hosts. A server counts errors only for addresses with a name.
  await mkdir(join('/etc/netns', serverSide), { recursive: true })
  await writeFile(join('/etc/netns', serverSide, 'hosts'), `127.0.0.1 localhost\n${PROXY} proxy.example\n`)
  await run('ip', ['netns', 'add', serverSide])
  await run('ip', ['netns', 'add', proxySide])
  const veth = [
    'link',
    'add',
    'veth0',
    'netns',
    serverSide,
    'type',
    'veth',
    'peer',
    'name',
    'veth0',
    'netns',
    proxySide,
  ]
  await run('ip', veth)
  for (const [namespace, address] of [
    [serverSide, SERVER],
    [proxySide, PROXY],
  ] as const) {
    await run('ip', ['-n', namespace, 'address', 'add', `${address}/30`, 'dev', 'veth0'])
    await run('ip', ['-n', namespace, 'link', 'set', 'veth0', 'up'])
    await run('ip', ['-n', namespace, 'link', 'set', 'lo', 'up'])
  }
}

async function removeNamespaces(serverSide: string, proxySide: string): Promise<void> {
  for (const namespace of [serverSide, proxySide]) {
    await run('ip', ['netns', 'delete', namespace]).catch(() => undefined)
  }
  await rm(join('/etc/netns', serverSide), { recursive: true, force: true })
  await rmdir('/etc/netns').catch(() => undefined) // fails if it contains other namespaces
}

/** Resolves with the exit code. */
async function runExperiment(experiment: Experiment, launcher: string[], env: NodeJS.ProcessEnv): Promise<number> {
  if (interrupted) return 1
  const program = fileURLToPath(new URL('connect-errors-run.ts', import.meta.url))
  const [command, ...args] = [...launcher, process.execPath, '--import=tsx', program]
  experimenting = spawn(command!, args, {
    stdio: 'inherit',
    env: { ...process.env, ...env, CONNECT_ERRORS_EXPERIMENT: JSON.stringify(experiment) },
  })
  const [code] = (await once(experimenting, 'exit')) as [number | null]
  return code ?? 1
}
