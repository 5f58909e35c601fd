/**
 * The whole product through Session Manager: the program with --ssm-target, the stand-ins of the service and the agent, and a
 * real server that verifies IAM tokens. test/tunnel/ssm-product.test.ts plays it without the plugin, `npm run ssm-witness` with it.
 */
import { equal, match, ok } from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import mysql, { type RowDataPacket } from 'mysql2/promise'
import type { RealServer } from '../support/database-server.ts'
import { PROGRAM } from '../support/program.ts'
import { type StandInAgent, startStandInAgent } from './agent.ts'
import { createWorld, TARGET, type World } from './world.ts'

const MIB = 1024 * 1024
const ROWS = 4
const ROW_BYTES = 5 * MIB
const CLIENTS = 10

/** Time limits of the program: a busy machine must not reach them. */
const PATIENCE = [
  '--tunnel-timeout',
  '5m',
  '--connect-timeout',
  '5m',
  '--login-timeout',
  '5m',
  '--greeting-timeout',
  '5m',
]

export interface Product {
  world: World
  agents: StandInAgent[]
  child: ChildProcess
  /** all output so far */
  said(): string
  connect(): Promise<mysql.Connection>
  /** Ends the program as a service manager does. @returns its exit code */
  stop(): Promise<number | null>
  /** Frees everything, at any time. */
  close(): Promise<void>
}

/** The program's flags and environment, for any of its commands. */
export async function settingsFor(world: World, server: RealServer, path: string) {
  const ca = join(dirname(world.caFile), 'rds.pem')
  await writeFile(ca, server.ca)
  const { accessKeyId, secretAccessKey, sessionToken } = server.keys.temporary
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_)/.test(name))
  return {
    flags: [
      ...['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`],
      ...['--ca', ca, '--ca-only', '--ssm-target', TARGET, ...PATIENCE],
    ],
    environment: {
      ...Object.fromEntries(inherited),
      PATH: path,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_SESSION_TOKEN: sessionToken,
      AWS_EC2_METADATA_DISABLED: 'true',
      // Other services of AWS are unreachable.
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      AWS_ENDPOINT_URL_SSM: world.service.url,
      AWS_CA_BUNDLE: world.caFile,
      // What Go reads instead, for the plugin.
      SSL_CERT_FILE: world.caFile,
    },
  }
}

/** @param path where the program looks for the plugin */
export async function startProduct(server: RealServer, path: string): Promise<Product> {
  const agents: StandInAgent[] = []
  const world = await createWorld((session, { service, ca }) => {
    agents.push(startStandInAgent(session, { address: service.address, ca, window: 64 }))
  })
  const { flags, environment } = await settingsFor(world, server, path)
  const [command, ...first] = PROGRAM
  const args = [...flags, '--listen', '127.0.0.1:0', '--log-level', 'debug']
  const child = spawn(command, [...first, ...args], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  const listening = new Promise<number>((resolve, reject) => {
    const onOutput = (chunk: Buffer) => {
      said += chunk
      const port = /listening on 127\.0\.0\.1:(\d+)/.exec(said)?.[1]
      if (port) resolve(Number(port))
    }
    for (const stream of [child.stdout, child.stderr]) stream.on('data', onOutput)
    child.once('close', code => reject(new Error(`the program ended with ${code}: ${said}`)))
  })
  const connections = new Set<mysql.Connection>()
  const product: Product = {
    world,
    agents,
    child,
    said: () => said,
    async connect() {
      const options = { host: '127.0.0.1', user: 'iam_user', connectTimeout: 300_000 }
      const connection = await mysql.createConnection({ ...options, port: await listening })
      connections.add(connection)
      connection.on('error', () => {})
      return connection
    },
    async stop() {
      const closed = once(child, 'close') as Promise<[number | null]>
      child.kill('SIGTERM')
      return (await closed)[0]
    },
    async close() {
      for (const connection of connections) connection.destroy()
      child.kill('SIGKILL')
      await world.close()
    },
  }
  await listening.catch(async error => {
    await product.close()
    throw error
  })
  return product
}

/** From the first login to the end of the program. Throws at the first thing that is wrong. */
export async function playProduct(product: Product): Promise<void> {
  const { world } = product
  const { service } = world
  equal(service.calls.length, 0, 'no session before the first client')

  const connection = await product.connect()
  equal((await firstOf(connection, 'SELECT CURRENT_USER() AS user'))['user'], 'iam_user@%')
  const ids = await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const own = await product.connect()
      const { id } = await firstOf(own, 'SELECT CONNECTION_ID() AS id')
      await own.end()
      return id
    }),
  )
  equal(new Set(ids).size, CLIENTS, 'each client has its own session')

  await connection.query('CREATE TEMPORARY TABLE lab.ssm (part INT, data LONGBLOB) ENGINE=MyISAM')
  const hashes: string[] = []
  for (let part = 0; part < ROWS; part++) {
    const bytes = randomBytes(ROW_BYTES)
    hashes.push(sha256(bytes))
    await connection.execute('INSERT INTO lab.ssm VALUES (?, ?)', [part, bytes])
  }
  const stored = await rowsOf(connection, 'SELECT SHA2(data, 256) AS hash FROM lab.ssm ORDER BY part')
  equal(stored.map(({ hash }) => hash).join(), hashes.join(), 'what was sent')

  const before = service.relayed.length
  const reading = rowsOf(connection, 'SELECT data FROM lab.ssm ORDER BY part')
  // In the first row: most of the result is still to come.
  await until(() => service.relayed.length > before + 500)
  product.agents[0]!.cut()
  const received = (await reading).map(({ data }) => sha256(data))
  equal(received.join(), hashes.join(), 'what came back, although the agent lost its connection')
  await connection.end()

  equal(service.calls.filter(call => call === 'StartSession').length, 1, 'one session for all clients')
  equal(service.calls.includes('TerminateSession'), false)
  equal(await product.stop(), 143)
  ok(service.calls.includes('TerminateSession'), `${service.calls}`)
  equal(service.sessions.size, 0)
  match(product.said(), /the tunnel to 127\.0\.0\.1:\d+ is open/)
  keepsSecrets(product)
}

/** No secret in the log, and no IAM token outside TLS. */
export function keepsSecrets({ world: { service }, said }: Pick<Product, 'world' | 'said'>): void {
  const { tokens, relayed } = service
  ok(tokens.length > 0)
  for (const token of tokens) ok(!said().includes(token), 'the token of the session is in the log')
  ok(!/X-Amz-(?:Signature|Security-Token)/i.test(said()), 'an IAM token is in the log')
  const clear = relayed.filter(({ message }) => message.includes('X-Amz-'))
  equal(clear.length, 0, 'an IAM token went through the data channel outside TLS')
}

async function rowsOf(connection: mysql.Connection, sql: string): Promise<RowDataPacket[]> {
  return (await connection.query<RowDataPacket[]>(sql))[0]
}

async function firstOf(connection: mysql.Connection, sql: string): Promise<RowDataPacket> {
  return (await rowsOf(connection, sql))[0]!
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise(resolve => setTimeout(resolve, 5))
}
