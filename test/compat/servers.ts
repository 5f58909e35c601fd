/** The servers of a run: a temporary MariaDB and the given ones. */
import { randomInt } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import type { Credentials } from '../../src/aws/credentials.ts'
import { DEFAULT_PORT, formatHostPort, type HostPort, parseHostPort } from '../../src/endpoint.ts'
import { startMariadb } from '../support/mariadb.ts'
import type { startMysql } from '../support/mysql.ts'
import { setup } from './behaviours.ts'

export interface Server extends HostPort {
  /** the name on its certificate and in tokens */
  rds: HostPort
  ca: string
  caFile: string
  /** the socket of the server, if it is on this machine */
  socket?: string | undefined
  /** an account with a password and all privileges */
  account: { user: string; password: string }
  /** two accounts that log in with tokens, with all privileges */
  iamUsers: [string, string]
  /** by default the profile, or else the credential chain of the AWS SDK */
  credentials?: Credentials | undefined
  profile?: string | undefined
  /** as on the page: MySQL 9.7.4 */
  label: string
  isMariadb: boolean
  /** Runs one or several statements with the password account over TLS. */
  query(sql: string): Promise<unknown>
  stop(): Promise<void>
}

type GivenServer = Omit<Server, 'label' | 'isMariadb' | 'query' | 'stop'>

export const SERVER_HELP = `KEY=VALUE,…
    address=HOST:PORT      of the server
    rds=HOST[:PORT]        the name on its certificate and in tokens
    ca=FILE                the CA of its certificate
    account=USER:PASSWORD  an account with a password and all privileges
    iam=USER:USER          two accounts that log in with tokens, with all privileges
    profile=NAME           the AWS profile that signs tokens (default: the AWS environment variables)
    socket=PATH            the unix socket of the server, if it is on this machine`

/** @param text `address=127.0.0.1:3306,rds=…`, as SERVER_HELP says */
export async function useNamedServer(text: string): Promise<Server> {
  const given = new Map(text.split(',').map(part => part.split(/=(.*)/s, 2) as [string, string]))
  const need = (key: string) => {
    const value = given.get(key)
    if (!value) throw new Error(`--server ${text}: ${key}= is missing`)
    return value
  }
  const [user = '', password = ''] = need('account').split(/:(.*)/s, 2)
  const [first = '', second = first] = need('iam').split(':', 2)
  return await useServer({
    ...parseHostPort(need('address'), DEFAULT_PORT, '--server'),
    rds: parseHostPort(need('rds'), DEFAULT_PORT, '--server'),
    ca: await readFile(need('ca'), 'utf8'),
    caFile: need('ca'),
    account: { user, password },
    iamUsers: [first, second],
    profile: given.get('profile'),
    socket: given.get('socket'),
  })
}

/** @param start MariaDB or MySQL */
export async function startOwnServer(
  scratch: string,
  start: typeof startMariadb | typeof startMysql = startMariadb,
): Promise<Server> {
  const own = await start({ extraConfig: 'max_allowed_packet=64M' })
  const caFile = join(scratch, `ca-${randomInt(1 << 30)}.pem`)
  await writeFile(caFile, own.ca)
  const server = await useServer({
    host: own.host,
    port: own.port,
    rds: { host: own.rdsHost, port: own.rdsPort },
    ca: own.ca,
    caFile,
    socket: own.socketPath,
    account: { user: 'app', password: 'app-pw' },
    iamUsers: ['iam_user', 'iam2'],
    credentials: own.keys.temporary,
  })
  return {
    ...server,
    async stop() {
      await server.stop()
      await own.stop()
    },
  }
}

async function useServer(given: GivenServer): Promise<Server> {
  // Over TLS, so that MySQL caches the password's hash and then accepts it without TLS too.
  const connection = await mysql.createConnection({
    stream: () => connect(given.port, given.host),
    host: given.rds.host,
    ...given.account,
    ssl: { ca: given.ca, verifyIdentity: true },
    multipleStatements: true,
    charset: 'utf8mb4',
  })
  const query = async (sql: string) => (await connection.query(sql))[0]
  const [row] = (await query('SELECT VERSION() AS version')) as { version: string }[]
  const isMariadb = /mariadb/i.test(row!.version)
  return {
    ...given,
    label: `${isMariadb ? 'MariaDB' : 'MySQL'} ${/^[\d.]+/.exec(row!.version)?.[0]}`,
    isMariadb,
    query,
    stop: () => connection.end(),
  }
}

/** Creates the database of the behaviours. */
export async function prepareServer(server: Server): Promise<void> {
  await server.query(setup())
  const [row] = (await server.query('SELECT @@GLOBAL.local_infile AS value')) as { value: number }[]
  if (!row!.value) throw new Error(`${formatHostPort(server)}: local_infile is OFF`)
}
