/** Logins, in sequence: through the proxy and directly over TLS with a token, elsewhere with a password. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { regionOf } from '../src/endpoint.ts'
import { inChild } from './child.ts'
import type { Route } from './client.ts'
import { compare, median, number, progress, table } from './compare.ts'
import type { LoginTask } from './login-client.ts'
import { DIRECT_TLS, type PeerSettings, startProxy } from './peers.ts'
import type { Server } from './server.ts'

const LOGINS = 200
const LOGINS_WITH_DELAY = 20

export async function login(settings: PeerSettings, runs: number): Promise<string> {
  return await compare(
    {
      title: `login: from connect to the answer to SELECT 1, by mysql2; median of ${LOGINS}, in sequence`,
      columns: [
        {
          head: 'ms (CPU ms)',
          measure: async ({ route }) => ({ value: median(await logIns(settings.server, route!, LOGINS)) }),
        },
      ],
      cell: (value, { cpuSeconds }) =>
        Number.isNaN(cpuSeconds) ? value : `${value} (${number((cpuSeconds! / LOGINS) * 1000)})`,
      runs,
    },
    settings,
  )
}

/** Logins to a distant server, where round trips dominate. */
export async function loginWithDelay(settings: PeerSettings, delay: number): Promise<string> {
  const { server } = settings
  const far = await startDelay(server, delay)
  const address = { host: '127.0.0.1', port: far.port }
  const proxy = await startProxy(settings, address)
  try {
    const direct: Route = { name: DIRECT_TLS, ...address, ...server.account, tls: server.tls }
    const rows: string[][] = []
    for (const route of [proxy.route!, direct]) {
      const times = await logIns(server, route, LOGINS_WITH_DELAY)
      progress(`login over ${delay} ms: ${route.name}: ${number(median(times))}`)
      rows.push([route.name, number(times[0]!), number(median(times)), (median(times) / delay).toFixed(1)])
    }
    return table(
      `login to a server ${delay} ms (round trip) away: from connect to the answer to SELECT 1`,
      ['', 'first, ms', `median of ${LOGINS_WITH_DELAY}, ms`, 'round trips'],
      rows,
    )
  } finally {
    await proxy.stop()
    far.close()
  }
}

/** For logins with tokens that the client signs. */
export function iamOf({ rds, iamUser, credentials }: Server): NonNullable<LoginTask['iam']> {
  return { rds: { ...rds, region: regionOf(rds.host)! }, user: iamUser, credentials }
}

export function logIns(server: Server, route: Route, count: number): Promise<number[]> {
  const task: LoginTask = { route, count, iam: route.name === DIRECT_TLS ? iamOf(server) : undefined }
  return inChild(new URL('login-client.ts', import.meta.url), task)
}

/** Forwards bytes with half of `delay` ms each way, and adds the round trip of the TCP handshake to the first bytes. */
export async function startDelay(
  to: { host: string; port: number },
  delay: number,
): Promise<{ port: number; close(): void }> {
  const listener = createServer({ noDelay: true }, near => {
    const far = connect({ host: to.host, port: to.port, noDelay: true })
    const opened = performance.now()
    hand(near, far, () => delay / 2)
    // The TCP handshake takes one round trip, and the greeting another half of it each way.
    hand(far, near, () => Math.max(delay / 2, opened + 2 * delay - performance.now()))
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return { port: (listener.address() as { port: number }).port, close: () => listener.close() }
}

function hand(from: Socket, to: Socket, delay: () => number): void {
  from.on('data', chunk => setTimeout(() => to.write(chunk), delay()))
  from.on('end', () => setTimeout(() => to.end(), delay()))
  from.on('error', () => to.destroy())
}
