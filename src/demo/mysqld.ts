/** A real server behind the stand-in, in a private directory that the demo removes when it stops. */

import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { chown, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { monotonicClock } from '../clock.ts'
import { createWire, readPacket, type Wire, writePacket } from '../net/wire.ts'
import { CLIENT_CONNECT_ATTRS, CLIENT_PROTOCOL_41, CLIENT_SSL, has, sentUpstream } from '../protocol/capabilities.ts'
import {
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  type HandshakeResponse41,
  OK,
  parseERR_Packet,
  parseHandshakeV10,
} from '../protocol/packets.ts'
import { type Backend, type BackendSession, DEMO_DATABASE, DEMO_USER } from './backend.ts'
import { createScratchProcess, type ScratchProcess } from './scratch-process.ts'

/** Longest start of the server. */
export const START_TIMEOUT_MS = 60_000

/** Longest shutdown of the server before it is killed. */
export const STOP_TIMEOUT_MS = 10_000

/** Longest login at the server. */
export const LOGIN_TIMEOUT_MS = 10_000

/** The init file, one statement per line. Only the demo's user can log in, also with COM_CHANGE_USER. */
export const SETUP = `
CREATE DATABASE ${DEMO_DATABASE};
CREATE TABLE ${DEMO_DATABASE}.rivers (name VARCHAR(40) PRIMARY KEY, length_km INT NOT NULL);
INSERT INTO ${DEMO_DATABASE}.rivers VALUES ('Corrib', 6), ('Lee', 90), ('Liffey', 132), ('Shannon', 360);
CREATE USER '${DEMO_USER}'@'localhost' IDENTIFIED BY '';
GRANT ALL ON ${DEMO_DATABASE}.* TO '${DEMO_USER}'@'localhost';
ALTER USER 'root'@'localhost' ACCOUNT LOCK;
`

/** The path of a program: on the PATH, or in directories of servers that are often missing from it. */
export function findProgram(name: string, more: string[] = []): string | undefined {
  if (process.platform === 'win32') return undefined // the server listens on a unix socket
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/libexec', ...more]
  const paths = directories.filter(directory => directory !== '').map(directory => join(directory, name))
  return paths.find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export async function startDatabase(binary: string, signal: AbortSignal | undefined): Promise<Backend> {
  const { stdout: version } = await promisify(execFile)(binary, ['--no-defaults', '--version'])
  const isMariaDB = version.includes('MariaDB')
  const scratch = await createScratchProcess()
  const { directory } = scratch
  try {
    const account = await serverAccount()
    const setup = join(directory, 'setup.sql')
    await writeFile(setup, SETUP)
    if (account.ids) for (const path of [setup, directory]) await chown(path, ...account.ids)

    const common = ['--no-defaults', `--datadir=${join(directory, 'data')}`, `--tmpdir=${directory}`, ...account.args]
    await (isMariaDB ? installMariaDB(scratch, binary, common, signal) : installMySQL(scratch, binary, common, signal))

    const socketPath = join(directory, 'sock')
    const args = [...common, ...serverArgs(directory, socketPath, isMariaDB), `--init-file=${setup}`]
    const server = await scratch.run(binary, args)
    await untilReady(server, scratch, socketPath, signal)
    return {
      name: `${isMariaDB ? 'MariaDB' : 'MySQL'} ${version.match(/\d+\.\d+\.\d+/)?.[0] ?? ''} (${binary})`,
      connect: () => openSession(socketPath),
      async stop() {
        await terminate(server)
        await scratch.release()
      },
    }
  } catch (error) {
    await scratch.release()
    throw error
  }
}

/** As root, a server requires --user: the mysql user if it exists. */
async function serverAccount(): Promise<{ args: string[]; ids?: [uid: number, gid: number] }> {
  if (process.getuid?.() !== 0) return { args: [] }
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(flag => promisify(execFile)('id', [flag, 'mysql'])))
    return { args: ['--user=mysql'], ids: [Number(uid?.stdout), Number(gid?.stdout)] }
  } catch {
    return { args: ['--user=root'] }
  }
}

async function installMariaDB(
  scratch: ScratchProcess,
  binary: string,
  common: string[],
  signal?: AbortSignal,
): Promise<void> {
  const directories = ['.', '../bin', '../scripts'].map(path => join(dirname(binary), path))
  const install = findProgram('mariadb-install-db', directories) ?? findProgram('mysql_install_db', directories)
  if (install === undefined) throw new Error('mariadb-install-db not found')
  const args = [...common, '--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve']
  await untilFinished(await scratch.run(install, args), scratch, signal)
}

async function installMySQL(
  scratch: ScratchProcess,
  binary: string,
  common: string[],
  signal?: AbortSignal,
): Promise<void> {
  await untilFinished(await scratch.run(binary, [...common, '--initialize-insecure', ...MYSQL_ARGS]), scratch, signal)
}

const MYSQL_ARGS = [
  '--secure-file-priv=NULL',
  '--loose-mysqlx=OFF',
  '--loose-auto-generate-certs=OFF',
  '--loose-caching-sha2-password-auto-generate-rsa-keys=OFF',
  '--loose-innodb-redo-log-capacity=8M',
]

/** Reachable only over the unix socket, with little memory. */
function serverArgs(directory: string, socketPath: string, isMariaDB: boolean): string[] {
  return [
    '--skip-networking',
    `--socket=${socketPath}`,
    `--pid-file=${join(directory, 'pid')}`,
    '--skip-log-bin',
    '--performance-schema=OFF',
    '--max-connections=50',
    '--innodb-buffer-pool-size=16M',
    '--innodb-flush-log-at-trx-commit=0',
    ...(isMariaDB ? ['--innodb-log-file-size=8M'] : MYSQL_ARGS),
  ]
}

/** Waits for a process to exit. Rejects with its first error if its exit code is not 0. */
async function untilFinished(
  child: ChildProcess,
  scratch: ScratchProcess,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit', { signal })
  if (child.exitCode !== 0) throw new Error(await firstError(scratch))
}

async function untilReady(server: ChildProcess, scratch: ScratchProcess, socketPath: string, signal?: AbortSignal) {
  const deadline = monotonicClock.now() + START_TIMEOUT_MS
  while (!(await accepts(socketPath))) {
    if (server.exitCode !== null || server.signalCode !== null) throw new Error(await firstError(scratch))
    if (monotonicClock.now() > deadline) throw new Error(`no answer within ${START_TIMEOUT_MS / 1000} s`)
    await sleep(100, undefined, { signal })
  }
}

/** Whether the demo's user can log in. */
async function accepts(socketPath: string): Promise<boolean> {
  try {
    const session = await openSession(socketPath)
    const answer = await session.login({
      capabilities: CLIENT_PROTOCOL_41,
      maxPacketSize: 0,
      charset: 45,
      reserved: Buffer.alloc(23),
      user: Buffer.from(DEMO_USER),
      authResponse: Buffer.alloc(0),
      database: Buffer.from(DEMO_DATABASE),
      authPlugin: undefined,
      attributes: undefined,
      zstdLevel: undefined,
    })
    session.end()
    return answer[0] === OK
  } catch {
    return false
  }
}

async function firstError({ logFile }: ScratchProcess): Promise<string> {
  const lines = (await readFile(logFile, 'utf8')).split('\n').filter(line => line.trim() !== '')
  const error = lines.find(line => line.includes('[ERROR]')) ?? lines.at(-1) ?? 'no output'
  return error.replace(/^.*\[ERROR\]\s*(\[[^\]]*\]\s*)*/, '')
}

async function terminate(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await exit
  clearTimeout(timer)
}

async function openSession(socketPath: string): Promise<BackendSession> {
  const socket = connect(socketPath)
  const wire = createWire(socket, 'upstream', LOGIN_TIMEOUT_MS)
  const payload = await readPacket(wire, 'HandshakeV10 of the backend')
  if (payload[0] === ERR) throw new Error(parseERR_Packet(payload).message)
  const greeting = parseHandshakeV10(payload)

  async function login(response: HandshakeResponse41): Promise<Buffer> {
    wire.deadline = wire.clock.now() + LOGIN_TIMEOUT_MS
    const attributes = has(greeting.capabilities, CLIENT_CONNECT_ATTRS) ? response.attributes : undefined
    const fields = { database: response.database !== undefined, attributes: attributes !== undefined }
    const capabilities = sentUpstream(response.capabilities, greeting.capabilities, fields) & ~CLIENT_SSL
    const authResponse = Buffer.alloc(0)
    const { authPlugin } = greeting
    writePacket(wire, encodeHandshakeResponse41({ ...response, capabilities, attributes, authResponse, authPlugin }))
    const answer = await readPacket(wire, "the backend's answer to the login")
    if (answer[0] !== AUTH_SWITCH_REQUEST) return answer
    writePacket(wire, authResponse) // An empty password is the same with every plugin.
    return await readPacket(wire, "the backend's answer to the login")
  }

  async function serve(client: Wire): Promise<void> {
    client.socket.pipe(socket).pipe(client.socket)
    await Promise.race([client.socket, socket].map(side => new Promise(resolve => side.once('close', resolve))))
  }

  return { greeting, login, serve, end: () => socket.destroy() }
}
