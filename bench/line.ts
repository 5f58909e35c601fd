/** Logins over a line between proxy and database, where round trips decide: one login, a pool, a GUI. */
import { inChild } from './child.ts'
import type { Route } from './client.ts'
import { number, progress, table } from './compare.ts'
import type { LineResult, LineTask } from './line-client.ts'
import { iamOf, startDelay } from './login.ts'
import { DIRECT_TLS, type PeerSettings, PROXY, startProxy } from './peers.ts'

/** Round-trip times in milliseconds. */
const DELAYS = [0, 20, 40, 100]

const PREPARED = ['--prepared-connections', '2']

export async function line(settings: PeerSettings): Promise<string> {
  const { server } = settings
  const tables: string[] = []
  for (const delay of DELAYS) {
    const far = delay > 0 ? await startDelay(server, delay) : undefined
    const address = far ? { host: '127.0.0.1', port: far.port } : { host: server.host, port: server.port }
    const proxies = [await startProxy(settings, address), await startProxy(settings, address, PREPARED)]
    try {
      const direct: Route = { name: DIRECT_TLS, ...address, ...server.account, tls: server.tls }
      const routes: [name: string, route: Route][] = [
        [PROXY, proxies[0]!.route!],
        [`${PROXY} ${PREPARED.join(' ')}`, proxies[1]!.route!],
        [DIRECT_TLS, direct],
      ]
      const results: [name: string, result: LineResult][] = []
      for (const [name, route] of routes) {
        const task: LineTask = { route, iam: route === direct ? iamOf(server) : undefined }
        results.push([name, await inChild(new URL('line-client.ts', import.meta.url), task)])
        progress(`line of ${delay} ms: ${name}: ${JSON.stringify(results.at(-1)![1])}`)
      }
      const ofDirect = results.at(-1)![1]
      const cell = (result: LineResult, what: keyof LineResult) =>
        `${number(result[what])} (${(result[what] / ofDirect[what]).toFixed(2)})`
      tables.push(
        table(
          `line: logins over ${delay} ms, from connect to the answer to SELECT 1, by mysql2: ms (of direct)`,
          ['', 'one login', 'each of a pool of ten', 'second and third of a GUI'],
          results.map(([name, result]) => [name, cell(result, 'one'), cell(result, 'pool'), cell(result, 'gui')]),
        ),
      )
    } finally {
      for (const proxy of proxies) await proxy.stop()
      far?.close()
    }
  }
  return tables.join('\n\n')
}
