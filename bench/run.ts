/** Measures the proxy and its peers, and prints markdown. See --help. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { DEFAULT_PORT, type HostPort, parseHostPort } from '../src/endpoint.ts'
import { bulk } from './bulk.ts'
import { logIn } from './client.ts'
import { progress } from './compare.ts'
import { cpu } from './cpu.ts'
import { idle, start } from './idle.ts'
import { line } from './line.ts'
import { lineBytes, linePointSelect } from './line-bytes.ts'
import { loginCpu } from './line-cpu.ts'
import { localTls } from './local-tls.ts'
import { logCost } from './log.ts'
import { login, loginWithDelay } from './login.ts'
import { buildIfStale, versionOf } from './peers.ts'
import { type SysbenchSettings, scale, select } from './select.ts'
import { type Server, startServer, useServer } from './server.ts'
import { upload } from './upload.ts'

const HELP = `npm run bench -- [options]

Without --server, it starts a temporary MariaDB server.

  --server HOST:PORT         a running server. It requires:
    --ca FILE                the CA of its certificate
    --rds-name NAME          the name on its certificate and in tokens
    --rds-port PORT          the port in tokens (default: 3306)
    --account USER:PASSWORD  an account with a password that may create the database sbtest_bench
    --iam-user NAME          an account that logs in with tokens and may read sbtest_bench
    --access-key-id ID, --secret-access-key KEY
                             the key that signs tokens (default: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)
    --sysbench-tls DIR       a directory with cacert.pem, client-cert.pem and client-key.pem, for direct TLS with sysbench
  --router HOST:PORT         a running MySQL Router in front of the same server: client plain, server TLS
                             (default: start one if mysqlrouter is installed)
  --start mariadb|mysql      the temporary server (default: mariadb)
  --only LIST                of cpu,bulk,upload,select,login,login-cpu,line,local-tls,idle,start,log,scale,
                             line-bytes (default: all)
  --delay MS                 also logins to a server with a round-trip time of MS milliseconds
  --runs N                   runs of each measure, after one to warm up (default: 5)
  --seconds N                duration of each run of sysbench (default: 5)
  --sessions N               sessions of idle (default: 5000)
  --write                    also write the tables into docs/performance.md
`

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean' },
    server: { type: 'string' },
    ca: { type: 'string' },
    'rds-name': { type: 'string' },
    'rds-port': { type: 'string' },
    account: { type: 'string' },
    'iam-user': { type: 'string' },
    'access-key-id': { type: 'string' },
    'secret-access-key': { type: 'string' },
    router: { type: 'string' },
    'sysbench-tls': { type: 'string' },
    start: { type: 'string', default: 'mariadb' },
    only: { type: 'string' },
    delay: { type: 'string' },
    runs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    sessions: { type: 'string', default: '5000' },
    write: { type: 'boolean' },
  },
})

const page = fileURLToPath(new URL('../docs/performance.md', import.meta.url))
const BEGIN = '<!-- bench -->'
const END = '<!-- /bench -->'

if (options.help) process.stdout.write(HELP)
else await main()

async function main(): Promise<void> {
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  const measures = chosenMeasures()
  buildIfStale()
  const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-bench-'))
  await chmod(scratch, 0o711) // a server that runs as another user reads its CA there
  let server: Server | undefined
  try {
    server = options.server ? await useServer(givenServer(options.server)) : await startServer(scratch, options.start)
    const router = options.router ? parseHostPort(options.router, DEFAULT_PORT, '--router') : undefined
    const texts = [await describeMachine(server, router)]
    process.stdout.write(`${texts[0]}\n`)
    const settings = {
      server,
      scratch,
      router,
      runs: count('runs'),
      seconds: count('seconds'),
    }
    for (const measure of measures) {
      const text = await measure(settings)
      process.stdout.write(`\n${text}\n`)
      texts.push(text)
    }
    if (options.write) await writeInto(page, texts.join('\n\n'))
  } finally {
    await server?.stop()
    await rm(scratch, { recursive: true })
  }
}

type Measure = (settings: SysbenchSettings) => Promise<string>

function chosenMeasures(): Measure[] {
  const measures: Record<string, Measure> = {
    cpu,
    bulk: settings => bulk(settings, settings.runs),
    upload: settings => upload(settings, settings.runs),
    select,
    login: settings => login(settings, settings.runs),
    'login-cpu': settings => loginCpu(settings, settings.runs),
    line,
    'local-tls': settings => localTls(settings, settings.runs, settings.seconds),
    scale,
    idle: settings => idle(settings, count('sessions')),
    start,
    log: settings => logCost(settings.scratch),
    'line-bytes': async settings =>
      `${await lineBytes(settings, settings.runs)}\n\n${await linePointSelect(settings, settings.runs)}`,
  }
  const chosen = (options.only?.split(',') ?? Object.keys(measures)).map(name => {
    const measure = measures[name]
    if (!measure) throw new Error(`--only ${name}: unknown measure`)
    return measure
  })
  if (options.delay) chosen.push(settings => loginWithDelay(settings, count('delay')))
  return chosen
}

function givenServer(server: string) {
  const [user, ...password] = required('account').split(':')
  const sessionToken = process.env.AWS_SESSION_TOKEN
  const ownKeys = options['access-key-id'] === undefined
  return {
    ...parseHostPort(server, DEFAULT_PORT, '--server'),
    rds: { host: required('rds-name'), port: Number(options['rds-port'] ?? DEFAULT_PORT) },
    caFile: required('ca'),
    clientTls: options['sysbench-tls'],
    account: { user: user!, password: password.join(':') },
    iamUser: required('iam-user'),
    credentials: {
      accessKeyId: options['access-key-id'] ?? process.env.AWS_ACCESS_KEY_ID ?? required('access-key-id'),
      secretAccessKey:
        options['secret-access-key'] ?? process.env.AWS_SECRET_ACCESS_KEY ?? required('secret-access-key'),
      ...(ownKeys && sessionToken ? { sessionToken } : {}),
    },
  }
}

function required(name: Exclude<keyof typeof options, 'help' | 'write'>): string {
  const value = options[name]
  if (value === undefined) throw new Error(`--server requires --${name}`)
  return value
}

function count(name: 'runs' | 'seconds' | 'sessions' | 'delay'): number {
  const value = Number(options[name])
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} ${options[name]}: not a positive integer`)
  return value
}

async function describeMachine(server: Server, router: HostPort | undefined): Promise<string> {
  const processors = cpus()
  return [
    `${processors.length} × ${processors[0]?.model.trim()}`,
    `Node.js ${process.versions.node}`,
    `server ${server.version}`,
    `MySQL Router ${(router ? await versionOfRouter(router, server) : versionOf('mysqlrouter')) ?? '(not installed)'}`,
    `HAProxy ${versionOf('haproxy') ?? '(not installed)'}`,
    `sysbench ${versionOf('sysbench') ?? '(not installed)'}`,
  ].join(', ')
}

/** The version in the greeting of the Router. */
async function versionOfRouter(router: HostPort, server: Server): Promise<string> {
  const client = await logIn({ name: 'router', ...router, ...server.account })
  client.socket.destroy()
  return client.serverVersion.replace(/-router$/, '')
}

async function writeInto(file: string, text: string): Promise<void> {
  const before = await readFile(file, 'utf8')
  const [begin, end] = [before.indexOf(BEGIN), before.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`${file} has no ${BEGIN} and ${END}`)
  await writeFile(file, `${before.slice(0, begin)}${BEGIN}\n\n${text}\n\n${before.slice(end)}`)
  progress(`written into ${file}`)
}
