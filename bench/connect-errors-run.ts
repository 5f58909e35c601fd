/**
 * The experiment of connect-errors.ts. The server must see this process at an address whose errors it counts.
 * Reads its Experiment from the environment variable CONNECT_ERRORS_EXPERIMENT and prints markdown. Exits with 1 if the proxy
 * raised the count, or if nothing else raised it either.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import { createAuthority } from '../src/demo/certificates.ts'
import { formatHostPort, type HostPort } from '../src/endpoint.ts'
import { until } from '../test/support/raw-client.ts'
import { type BadClient, badClients, LOCAL_USER, type Setting } from './bad-clients.ts'
import { proxyProgram } from './peers.ts'

export interface Experiment {
  server: HostPort
  rds: HostPort
  caFile: string
  iamUser: string
  /** for mysql2: an account that may read and truncate performance_schema.host_cache */
  admin: mysql.ConnectionOptions
  /** clients of each kind, through the proxy */
  tries: number
  /** clients of each kind, without the proxy */
  controlTries: number
}

/** Simultaneous bad clients. */
const AT_A_TIME = 20

/** The number of the next client. */
let visitor = 1

const experiment = JSON.parse(process.env['CONNECT_ERRORS_EXPERIMENT']!) as Experiment
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-connect-errors-'))
const proxies = new Map<Setting, { child: ChildProcess; address: HostPort }>()
const admin = await mysql.createConnection({ ...experiment.admin, multipleStatements: true })
process.exitCode = 1
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => void cleanUp().then(() => process.exit(1)))
try {
  process.exitCode = (await run()) ? 0 : 1
} finally {
  await cleanUp()
  admin.destroy()
}

async function cleanUp(): Promise<void> {
  for (const { child } of proxies.values()) child.kill('SIGKILL')
  await rm(scratch, { recursive: true, force: true })
}

async function run(): Promise<boolean> {
  const [[about]] = await admin.query<mysql.RowDataPacket[]>(
    `SELECT VERSION() AS version, @@max_connect_errors AS limit_, @@skip_name_resolve AS unresolved`,
  )
  await truncate()
  await logIn(await proxyFor('plain'))
  const entry = await hostCacheEntry()
  say(
    `Server ${about!['version']}, max_connect_errors ${about!['limit_']}. It knows the proxy as ${entry?.host ?? 'nobody'} ` +
      `(${entry?.ip ?? 'no address'}, HOST_VALIDATED ${entry?.validated ?? 'NO'}).\n`,
  )
  if (entry?.validated !== 'YES') {
    say(
      'The server does not count errors from this address. It must not be loopback, and it must have a name in reverse lookups.',
    )
    return false
  }

  say(`| a client that | tries | got | \`SUM_CONNECT_ERRORS\` | directly, ${experiment.controlTries} tries |`)
  say('| --- | --- | --- | --- | --- |')
  let kept = true
  const control: number[] = []
  for (const client of badClients) {
    const directly = client.direct ? await tryDirectly(client) : undefined
    if (directly !== undefined) control.push(directly)
    await truncate()
    await logIn(await proxyFor('plain'))
    const got = await visits(client, await proxyFor(client.setting), experiment.tries)
    const errors = await connectErrors()
    const refused = await logIn(await proxyFor('plain')).then(
      () => undefined,
      (error: Error) => error.message,
    )
    kept &&= errors === 0 && refused === undefined
    const after = refused === undefined ? `${errors}` : `${errors}, and then: ${refused}`
    say(`| ${client.name} | ${experiment.tries} | ${got} | ${after} | ${directly ?? '–'} |`)
  }

  const locksOut = await lockOut()
  say('')
  say(
    `Without the proxy, after max_connect_errors clients that connect and disconnect, a login through the proxy gets: ${locksOut.said}`,
  )
  await truncate()
  await logIn(await proxyFor('plain'))
  say('After `TRUNCATE TABLE performance_schema.host_cache`, a login succeeds again.')
  const shows = locksOut.is1129 && control[0]! >= experiment.controlTries
  if (!shows) say('\nThe same clients raise no count without the proxy, so this experiment shows nothing.')
  else say(kept ? '\nThe proxy never raised the count.' : '\nTHE PROXY RAISED THE COUNT.')
  return shows && kept
}

async function tryDirectly(client: BadClient): Promise<number> {
  await truncate()
  await visits(client, experiment.server, experiment.controlTries)
  return await connectErrors()
}

/** What the clients received, with the number of clients. */
async function visits(client: BadClient, address: HostPort, tries: number): Promise<string> {
  const before = await status('Threads_connected')
  const counts = new Map<string, number>()
  let left = tries
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => {
      while (left-- > 0) {
        const got = await client.visit(address, visitor++).catch((error: Error) => error.message)
        counts.set(got, (counts.get(got) ?? 0) + 1)
      }
    }),
  )
  await untilQuiet(before)
  const [first, ...others] = [...counts].sort(([, a], [, b]) => b - a)
  if (others.length === 0) return first![0]
  return [first!, ...others].map(([got, count]) => `${got} (${count})`).join('; ')
}

/** Enough clients for the server to block this address, and the error that a client of the proxy then gets. */
async function lockOut(): Promise<{ is1129: boolean; said: string }> {
  const [[row]] = await admin.query<mysql.RowDataPacket[]>('SELECT @@max_connect_errors AS tries')
  await visits(badClients[0]!, experiment.server, Number(row!['tries']) + AT_A_TIME)
  try {
    await logIn(await proxyFor('plain'))
    return { is1129: false, said: 'OK' }
  } catch (error) {
    const { errno, message } = error as Error & { errno?: number }
    return { is1129: errno === 1129, said: message }
  }
}

// ---- the server ----

interface HostCacheEntry {
  ip: string
  host: string | null
  validated: string
  errors: number
}

/** The row of this machine: the only one on a server that nobody else uses. */
async function hostCacheEntry(): Promise<HostCacheEntry | undefined> {
  const [rows] = await admin.query<mysql.RowDataPacket[]>(
    `SELECT IP AS ip, HOST AS host, HOST_VALIDATED AS validated, SUM_CONNECT_ERRORS AS errors
     FROM performance_schema.host_cache ORDER BY LAST_SEEN DESC LIMIT 1`,
  )
  return rows[0] as HostCacheEntry | undefined
}

async function connectErrors(): Promise<number> {
  return Number((await hostCacheEntry())?.errors ?? 0)
}

async function truncate(): Promise<void> {
  await admin.query('TRUNCATE TABLE performance_schema.host_cache')
}

/** Waits until all connections have ended and no new ones come, because a server counts an error only when it notices it. */
async function untilQuiet(threads: number): Promise<void> {
  let connections = -1
  await until(
    'the server has no more connections',
    async () => {
      await sleep(500)
      const before = connections
      connections = await status('Connections')
      return connections === before && (await status('Threads_connected')) <= threads
    },
    60_000,
  )
}

async function status(name: 'Connections' | 'Threads_connected'): Promise<number> {
  const [rows] = await admin.query<mysql.RowDataPacket[]>('SHOW GLOBAL STATUS WHERE Variable_name = ?', [name])
  return Number(rows[0]!['Value'])
}

// ---- the proxies ----

async function proxyFor(setting: Setting): Promise<HostPort> {
  const running = proxies.get(setting)
  if (running) return running.address
  const { server, rds, caFile } = experiment
  const credentials = setting === 'without credentials' ? withoutCredentials() : {}
  const certificateName = setting === 'other name' ? `other-${rds.host}` : rds.host
  const ca = setting === 'other authority' ? await otherAuthority() : caFile
  const child = spawn(
    process.execPath,
    [
      ...[proxyProgram, '--rds-endpoint', formatHostPort({ ...rds, host: certificateName })],
      ...['--connect', formatHostPort(server), '--ca', ca, '--ca-only'],
      ...['--listen', '127.0.0.1:0', '--log-format', 'json', ...(await flagsOf(setting))],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...credentials } },
  )
  const port = await new Promise<number>((resolve, reject) => {
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said = (said + chunk).slice(-4_000)
      const match = /listening on 127\.0\.0\.1:(\d+)/.exec(said)
      if (match) resolve(Number(match[1]))
    })
    child.once('exit', code => reject(new Error(`the proxy (${setting}) exited with ${code}: ${said}`)))
  })
  const address = { host: '127.0.0.1', port }
  proxies.set(setting, { child, address })
  return address
}

async function flagsOf(setting: Setting): Promise<string[]> {
  switch (setting) {
    case 'plain':
    case 'other authority':
    case 'other name':
    case 'without credentials':
      return []
    case 'impatient':
      return ['--login-timeout', '500ms']
    case 'local user':
      return ['--local-user', LOCAL_USER, '--local-password-file', await keep('password', 'correct horse')]
    case 'local TLS': {
      const { certificate, key } = await (await createAuthority('of this run')).issue({ names: ['localhost'] })
      return ['--tls-cert', await keep('cert.pem', certificate), '--tls-key', await keep('key.pem', key)]
    }
    case 'other network':
      return ['--allow-from', '192.0.2.0/24'] // TEST-NET-1
  }
}

async function otherAuthority(): Promise<string> {
  return await keep('other-ca.pem', (await createAuthority('of another')).certificate)
}

function withoutCredentials(): NodeJS.ProcessEnv {
  const nowhere = join(scratch, 'nothing-here')
  return {
    ...{ AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_SESSION_TOKEN: '', AWS_EC2_METADATA_DISABLED: 'true' },
    ...{ AWS_CONFIG_FILE: nowhere, AWS_SHARED_CREDENTIALS_FILE: nowhere },
  }
}

async function keep(name: string, text: string): Promise<string> {
  const file = join(scratch, name)
  await writeFile(file, text, { mode: 0o600 })
  return file
}

/** A good client. @throws the error of the ERR_Packet */
async function logIn(address: HostPort): Promise<void> {
  const connection = await mysql.createConnection({ ...address, user: experiment.iamUser })
  await connection.query('SELECT 1')
  await connection.end()
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
