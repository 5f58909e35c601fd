/** Forward proxies: a small one in this process, and real programs of Debian. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Server as NetServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createScratchProcess } from '../../src/demo/scratch-process.ts'
import { freePort } from './free-port.ts'
import { ensureProgram } from './packages.ts'

export interface HttpProxy {
  /** `127.0.0.1:PORT` */
  address: string
  /** what was asked for, oldest first: `host:port` */
  targets: string[]
  /** the Proxy-Authorization headers, decoded */
  logins: (string | undefined)[]
}

/**
 * HTTP CONNECT. It leads every connection to one local port, so that no name is resolved.
 * @param answer sent instead of a connection, for example `403 Filtered`
 */
export async function startHttpProxy(
  t: Test,
  { port = 0, answer, server = createServer() }: { port?: number; answer?: string; server?: Server },
): Promise<HttpProxy> {
  const proxy: HttpProxy = { address: '', targets: [], logins: [] }
  server.on('connect', (request, socket: Socket, head) => {
    proxy.targets.push(request.url ?? '')
    const [, login] = /^Basic (.*)$/.exec(request.headers['proxy-authorization'] ?? '') ?? []
    proxy.logins.push(login && Buffer.from(login, 'base64').toString())
    socket.on('error', () => {})
    if (answer !== undefined) {
      socket.end(`HTTP/1.1 ${answer}\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.write(head)
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('close', () => onward.destroy())
  })
  proxy.address = `127.0.0.1:${await listen(t, server)}`
  return proxy
}

/** Starts `server` on a free port, which it resolves with. At the end of the test it goes, with its connections. */
export async function listen(t: Test, server: NetServer): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

export interface ProxyProgram {
  /** `127.0.0.1:PORT` */
  address: string
  /** its log so far */
  log(): string
}

export interface ProgramOptions {
  /** users must give this name and password; default: nobody has to */
  login?: { user: string; password: string }
  /** the ports that may be connected to; default: all. Only for tinyproxy and squid */
  ports?: number[]
  /** names that squid resolves to 127.0.0.1 */
  hosts?: string[]
}

type Program = 'tinyproxy' | 'squid' | 'microsocks' | 'danted'

const PACKAGES: Readonly<Record<Program, string>> = {
  tinyproxy: 'tinyproxy-bin',
  squid: 'squid',
  microsocks: 'microsocks',
  danted: 'dante-server',
}

/** Starts a real forward proxy of Debian, and resolves when it accepts connections. */
export async function startProxyProgram(
  t: Test,
  program: Program,
  options: ProgramOptions = {},
): Promise<ProxyProgram> {
  const path = await ensureProgram(program, PACKAGES[program])
  const port = await freePort()
  const process = await createScratchProcess()
  t.teardown(() => process.release())
  // Some of them give up their privileges.
  await chmod(process.directory, 0o777)
  const child = await process.run(path, await prepare[program](process.directory, port, options))
  const log = () => readFileSync(process.logFile, 'utf8')
  while (!(await accepts(port))) {
    if (child.exitCode !== null) throw new Error(`${program} does not start: ${log()}`)
  }
  return { address: `127.0.0.1:${port}`, log }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const [event] = await Promise.race([
    once(socket, 'connect').then(() => ['connect']),
    once(socket, 'close').then(() => ['close']),
  ]).catch(() => ['error'])
  socket.destroy()
  return event === 'connect'
}

/** Writes the configuration and resolves with the arguments. */
const prepare: Record<Program, (directory: string, port: number, options: ProgramOptions) => Promise<string[]>> = {
  async tinyproxy(directory, port, { login, ports = [] }) {
    const config = [`Port ${port}`, 'Listen 127.0.0.1', 'Timeout 600', 'LogLevel Connect', 'MaxClients 100']
    for (const allowed of ports) config.push(`ConnectPort ${allowed}`)
    if (login) config.push(`BasicAuth ${login.user} ${login.password}`)
    const file = join(directory, 'tinyproxy.conf')
    await writeFile(file, `${config.join('\n')}\n`)
    return ['-d', '-c', file]
  },
  async squid(directory, port, { login, ports, hosts = [] }) {
    const helper = join(directory, 'login.sh')
    const names = join(directory, 'hosts')
    const pair = login && `${login.user} ${login.password}`
    await writeFile(helper, `#!/bin/sh\nwhile read -r pair; do [ "$pair" = '${pair}' ] && echo OK || echo ERR; done\n`)
    await chmod(helper, 0o755)
    await writeFile(names, hosts.map(host => `127.0.0.1 ${host}\n`).join(''))
    const rules = [
      ...(ports ? [`acl allowed port ${ports.join(' ')}`, 'http_access deny !allowed'] : []),
      ...(login ? ['acl known proxy_auth REQUIRED', 'http_access allow known'] : ['http_access allow all']),
    ]
    const config = [
      `http_port 127.0.0.1:${port}`,
      `hosts_file ${names}`,
      `pid_filename ${join(directory, 'squid.pid')}`,
      `coredump_dir ${directory}`,
      'cache_log stdio:/dev/stderr',
      'access_log none',
      'cache deny all',
      'shutdown_lifetime 0 seconds',
      'pinger_enable off',
      ...(login ? [`auth_param basic program ${helper}`, 'auth_param basic children 1 startup=1 idle=1'] : []),
      ...rules,
    ]
    const file = join(directory, 'squid.conf')
    await writeFile(file, `${config.join('\n')}\n`)
    return ['-N', '-d', '1', '-f', file]
  },
  async microsocks(_directory, port, { login }) {
    return ['-i', '127.0.0.1', '-p', String(port), ...(login ? ['-u', login.user, '-P', login.password] : [])]
  },
  async danted(directory, port, { ports }) {
    const to = ports ? `0.0.0.0/0 port = ${ports[0]}` : '0.0.0.0/0'
    const config = [
      'logoutput: stderr',
      `internal: 127.0.0.1 port = ${port}`,
      'external: 127.0.0.1',
      'clientmethod: none',
      'socksmethod: none',
      'user.privileged: root',
      'user.unprivileged: nobody',
      'client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }',
      `socks pass { from: 0.0.0.0/0 to: ${to} command: connect }`,
    ]
    const file = join(directory, 'danted.conf')
    await writeFile(file, `${config.join('\n')}\n`)
    return ['-f', file, '-N', '1']
  },
}
