/** The server for all measures: a given one, or a temporary MariaDB. */
import { generateKeyPair } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import type { Credentials } from '../src/aws/credentials.ts'
import type { HostPort } from '../src/endpoint.ts'
import { createCertificate } from '../src/x509.ts'
import { startMariadb } from '../test/support/mariadb.ts'
import { startMysql } from '../test/support/mysql.ts'

export interface Server extends HostPort {
  /** the name on its certificate and in tokens */
  rds: HostPort
  caFile: string
  tls: { ca: string; servername: string }
  /** a directory with cacert.pem, client-cert.pem and client-key.pem, which sysbench requires for TLS */
  clientTls?: string | undefined
  /** an account with a password */
  account: { user: string; password: string }
  iamUser: string
  credentials: Credentials
  version: string
  /** The first result of a statement, with the password account over TLS. */
  query<Row = unknown>(sql: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

export type GivenServer = HostPort &
  Pick<Server, 'rds' | 'caFile' | 'clientTls' | 'account' | 'iamUser' | 'credentials'>

const HOUR_MS = 3_600_000

/** The database for the tables of the measures. */
export const DATABASE = 'sbtest_bench'

export async function useServer(given: GivenServer): Promise<Server> {
  const tls = { ca: await readFile(given.caFile, 'utf8'), servername: given.rds.host }
  // Over TLS, so that MySQL caches the password's hash and then accepts it without TLS too.
  const connection = await mysql.createConnection({
    stream: () => connect(given.port, given.host),
    host: given.rds.host,
    ...given.account,
    ssl: { ca: tls.ca, verifyIdentity: true },
  })
  async function query<Row>(sql: string, values: unknown[] = []): Promise<Row[]> {
    const [rows] = await connection.query({ sql, values })
    return rows as Row[]
  }
  const [row] = await query<{ version: string }>('SELECT VERSION() AS version')
  await query(`CREATE DATABASE IF NOT EXISTS ${DATABASE}`)
  return { ...given, tls, version: row!.version, query, stop: () => connection.end() }
}

export async function startServer(scratch: string, kind = 'mariadb'): Promise<Server> {
  const clientCertificate = await writeClientCertificate(scratch)
  const own =
    kind === 'mysql'
      ? await startMysql({ extraConfig: 'max_connections=6000' })
      : await startMariadb({ extraConfig: `max_connections=6000\nthread_stack=256K\nssl-ca=${clientCertificate}` })
  const caFile = join(scratch, 'cacert.pem')
  await writeFile(caFile, own.ca)
  const server = await useServer({
    host: own.host,
    port: own.port,
    rds: { host: own.rdsHost, port: own.rdsPort },
    caFile,
    clientTls: scratch,
    account: { user: 'app', password: 'app-pw' },
    iamUser: 'iam_user',
    credentials: own.keys.longTerm,
  })
  return {
    ...server,
    async stop() {
      await server.stop()
      await own.stop()
    },
  }
}

/** sysbench requires a client certificate for TLS, and the server must trust it, so it is self-signed. */
async function writeClientCertificate(directory: string): Promise<string> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  const now = Date.now()
  const certificate = createCertificate({
    commonName: 'sysbench',
    notBefore: new Date(now - HOUR_MS),
    notAfter: new Date(now + 24 * HOUR_MS),
    publicKey,
    signingKey: privateKey,
  })
  const file = join(directory, 'client-cert.pem')
  await writeFile(file, certificate)
  await writeFile(join(directory, 'client-key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
  })
  return file
}

/** Raises max_connections while `work` runs, if the account may. Otherwise connections over the limit fail. */
export async function withConnections<Result>(
  server: Server,
  count: number,
  work: () => Promise<Result>,
): Promise<Result> {
  const [before] = await server.query<{ value: number }>('SELECT @@GLOBAL.max_connections AS value')
  const set = (value: number) => server.query(`SET GLOBAL max_connections = ${value}`).catch(() => undefined)
  if (before!.value < count) await set(count)
  try {
    return await work()
  } finally {
    if (before!.value < count) await set(before!.value)
  }
}
