/** The logins of moved-name.test.ts, in a network and mount namespace with a name server. Prints where they led. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startDnsServer } from '../support/dns-server.ts'
import { freePort } from '../support/free-port.ts'
import { startMariadb } from '../support/mariadb.ts'
import { connect, startProxy, until } from '../support/raw-client.ts'

const [ONE, OTHER] = ['127.0.0.2', '127.0.0.3'] as const
/** Far longer than this test takes. */
const TTL_SECONDS = 3_600
const PATIENT = { connectTimeout: 120_000 }

execFileSync('ip', ['link', 'set', 'lo', 'up'])
const resolvConf = join(await mkdtemp(join(tmpdir(), 'moved-name-')), 'resolv.conf')
await writeFile(resolvConf, 'nameserver 127.0.0.1\n')
execFileSync('mount', ['--bind', resolvConf, '/etc/resolv.conf'])
const dns = await startDnsServer('127.0.0.1', 53)
const server = await startMariadb()
const port = await freePort()

/** Where logins led. */
const seen: string[] = []

/** The server behind an address. */
async function startAddress(host: string) {
  const sockets = new Set<Socket>()
  const listener = createServer({ noDelay: true }, client => {
    seen.push(host)
    const upstream = connectTcp({ host: server.host, port: server.port, noDelay: true })
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  }).listen(port, host)
  await once(listener, 'listening')
  return {
    endSessions: () => {
      for (const socket of sockets) socket.destroy()
    },
    /** From now on, it refuses connections. */
    close: () => listener.close(),
  }
}

const [one, other] = [await startAddress(ONE), await startAddress(OTHER)]
const moveTo = (address: string) => dns.answer({ addresses: [address], ttl: TTL_SECONDS })
const undo: (() => Promise<void>)[] = []
const t = { teardown: (stop: () => Promise<void>) => undo.push(stop) }

/** A proxy for a separate name, once its logins use an answer again. */
async function startSettled(name: string) {
  const proxy = await startProxy(t, server, { connect: `${name}:${port}` })
  const logIn = async () => {
    const connection = await connect(proxy, PATIENT)
    connection.on('error', () => {})
    return connection
  }
  /** Where a login leads. */
  const whereTo = async () => {
    await (await logIn()).end()
    return seen.at(-1)
  }
  await until('a login asks no name server', async () => {
    const questions = dns.questions.length
    await whereTo()
    return dns.questions.length === questions
  })
  return { proxy, logIn, whereTo }
}

// The server ends its sessions and becomes a reader, which accepts logins.
moveTo(ONE)
const first = await startSettled('first.moved.test')
const session = await first.logIn()
moveTo(OTHER)
const ended = once(session, 'error')
one.endSessions()
await ended
await until('the session has ended', () => first.proxy.state.sessions.size === 0)
const afterLostSession = await first.whereTo()

// The server refuses connections, and there is no session that could end.
moveTo(ONE)
const second = await startSettled('second.moved.test')
const before = seen.at(-1)
one.close()
moveTo(OTHER)
const afterRefusal = await second.whereTo()

process.stdout.write(JSON.stringify({ before, afterLostSession, afterRefusal }))
other.close()
one.endSessions()
other.endSessions()
for (const stop of undo) await stop()
await server.stop()
await dns.close()
process.exit(0)
