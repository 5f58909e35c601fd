/** `mysql-iam-proxy demo`: shows a complete login on this machine, with a stand-in for RDS and without AWS. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createConnection, type QueryError, type RowDataPacket } from 'mysql2/promise'
import { DEMO_DATABASE, DEMO_USER } from '../demo/backend.ts'
import { createAuthority } from '../demo/certificates.ts'
import { type Decision, startFakeRds } from '../demo/fake-rds.ts'
import { type BackendOptions, startBackend } from '../demo/start-backend.ts'
import type { AccessKey } from '../demo/verify-token.ts'
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { createProxy, type ProxyOptions } from '../proxy/proxy.ts'
import { createStyler, wantsColours, wrap } from '../text.ts'

export interface DemoOptions {
  /** host:port for the proxy; if the port is in use, the demo takes a free one */
  listen: string
  /** true to run until `signal`, false to stop after the last step */
  keepUp: boolean
  print: (line: string) => void
  signal: AbortSignal
  /** 'builtin' skips the search for MariaDB or MySQL; 'auto' by default */
  backend?: BackendOptions['kind']
}

const REGION = 'eu-west-1'
const RDS: HostPort = { host: `demo-1.abcdefghijkl.${REGION}.rds.amazonaws.com`, port: 3306 }
const UNKNOWN_USER = 'nobody'
const QUERY = 'SELECT CURRENT_USER(), CONNECTION_ID(), VERSION()'

const WIDTH = 80
const INDENT = '   '

/**
 * Runs the demo and prints its steps. When it stops, so do all its processes, and it removes all its files.
 * Rejects if a step fails; an abort of `signal` is not an error.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const { print, signal } = options
  const cleanup: (() => Promise<void>)[] = []
  try {
    await runSteps(options, cleanup)
    if (options.keepUp && !signal.aborted) {
      print('Press Ctrl-C to stop the demo and remove all its files.')
      await once(signal, 'abort')
      print('')
      print('The demo has stopped.')
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    for (const stop of cleanup.reverse()) await stop()
  }
}

async function runSteps(options: DemoOptions, cleanup: (() => Promise<void>)[]): Promise<void> {
  const { print, signal } = options
  const say = (text: string) => {
    for (const line of wrap(text, WIDTH - INDENT.length)) print(INDENT + line)
  }
  const fields = (rows: Record<string, unknown>) => {
    const width = Math.max(...Object.keys(rows).map(name => name.length)) + 2
    for (const [name, value] of Object.entries(rows)) print(`${INDENT}${name.padEnd(width)}${value}`)
  }
  let steps = 0
  const step = (text: string) => {
    signal.throwIfAborted()
    print('')
    steps += 1
    print(bold(`${steps}. ${text}`))
  }
  print('RDS with IAM authentication in miniature, on this machine and without AWS.')

  step('A stand-in for RDS')
  const backend = await startBackend({ kind: options.backend ?? 'auto', signal })
  cleanup.push(() => backend.stop())
  const authority = await createAuthority('mysql-iam-proxy demo')
  const accessKey = createAccessKey()
  const decisions: Decision[] = []
  const fakeRds = await startFakeRds({
    ...RDS,
    ...(await authority.issue({ names: [RDS.host] })),
    backend,
    region: REGION,
    accessKeys: [accessKey],
    users: [DEMO_USER],
    onDecision: decision => decisions.push(decision),
  })
  cleanup.push(() => fakeRds.close())
  const upstream = { host: fakeRds.address.address, port: fakeRds.address.port }
  say(`It listens on ${formatHostPort(upstream)}. Its certificate names an RDS endpoint.`)
  say('It verifies the signature, host, port, region, user and time of each token.')
  say(`Behind it: ${backend.name}${backend.fallback === undefined ? '' : ` (${backend.fallback})`}.`)

  step('mysql-iam-proxy in front of it')
  const { proxy, address, taken } = await listen(options.listen, {
    rdsEndpoint: formatHostPort(RDS),
    connect: formatHostPort(upstream),
    credentials: accessKey,
    ca: [authority.certificate],
    caOnly: true,
  })
  cleanup.push(() => proxy.close())
  if (taken) say(`Another program uses ${options.listen}, so the proxy takes a free port.`)
  say(`It listens on ${formatHostPort(address)} and uses three names:`)
  fields({
    'connects to': `${formatHostPort(upstream)} (in production often an NLB)`,
    certificate: RDS.host,
    'tokens for': `${formatHostPort(RDS)}, ${REGION}`,
  })

  step(`${DEMO_USER} logs in, without a password`)
  const row = await queryAs(DEMO_USER, address)
  const accepted = decisions.at(-1)
  say(`The stand-in verified a token of ${accepted?.tokenBytes} bytes for ${accepted?.user}, over ${accepted?.tls}.`)
  say(`${QUERY}:`)
  fields(row)

  step(`${UNKNOWN_USER}, who has no account, tries to log in`)
  const refusal = await queryAs(UNKNOWN_USER, address).then(
    () => undefined,
    (error: QueryError & { sqlState?: string }) => `ERROR ${error.errno} (${error.sqlState}): ${error.message}`,
  )
  if (refusal === undefined) throw new ProxyError('INTERNAL', `the demo accepted ${UNKNOWN_USER}`)
  say(`The stand-in refused the login: ${decisions.at(-1)?.refusal}. The client gets:`)
  say(refusal)

  step('Try it yourself')
  const target = `-h ${address.host} -P ${address.port} -u ${DEMO_USER} ${DEMO_DATABASE}`
  print(`${INDENT}mysql ${target}`)
  print(`${INDENT}mariadb --skip-ssl ${target}`)
  print('')
}

/** Starts a proxy on the wanted address, or on a free port of the same host if the port is in use. */
async function listen(
  wanted: string,
  options: ProxyOptions,
): Promise<{ proxy: ReturnType<typeof createProxy>; address: HostPort; taken: boolean }> {
  const first = createProxy({ ...options, listen: wanted })
  try {
    return { proxy: first, address: await first.listen(), taken: false }
  } catch (error) {
    if (!(error instanceof ProxyError) || systemCode(error.cause) !== 'EADDRINUSE') throw error
    const proxy = createProxy({ ...options, listen: wanted.replace(/(:\d+)?$/, ':0') })
    return { proxy, address: await proxy.listen(), taken: true }
  }
}

/** The one row of QUERY, by column. */
async function queryAs(user: string, { host, port }: HostPort): Promise<Record<string, unknown>> {
  const connection = await createConnection({ host, port, user, database: DEMO_DATABASE })
  try {
    const [rows] = await connection.query<RowDataPacket[]>(QUERY)
    return { ...rows[0] }
  } finally {
    await connection.end()
  }
}

/** A random key that only the stand-in accepts, for one run of the demo. */
function createAccessKey(): AccessKey {
  const secretAccessKey = randomBytes(30).toString('base64')
  return { accessKeyId: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`, secretAccessKey }
}

function bold(text: string): string {
  return createStyler(wantsColours(process.stdout.isTTY))('bold', text)
}
