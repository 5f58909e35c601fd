/** Runs clients through the proxy and directly, on one server. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import { type Behaviour, type Context, DATABASE, FILE_ROWS, type Route, wordOf } from './behaviours.ts'
import { type Command, runClient, type Work } from './client-run.ts'
import { type Cell, judge } from './judge.ts'
import { LOCAL_PASSWORD, LOCAL_USER, type Proxies, startProxies, type Target } from './proxies.ts'
import { prepareServer, type Server } from './servers.ts'

export interface Bench {
  server: Server
  /** routes that this version of the proxy does not support */
  missing: Route[]
  run(client: Command, behaviours: Behaviour[]): Promise<{ version: string | undefined; cells: Map<string, Cell> }>
  stop(): Promise<void>
}

/**
 * @param program how to start the proxy
 * @param scratch a directory for sockets and files
 */
export async function setUpBench(server: Server, program: string[], scratch: string): Promise<Bench> {
  await prepareServer(server)
  const file = join(scratch, 'loaded.tsv')
  await writeFile(file, Array.from({ length: FILE_ROWS }, (_, i) => `${i + 1}\t${wordOf(i + 1)}\n`).join(''))
  const proxies = await startProxies(server, program, scratch)
  const stopKilling = startKilling(server, proxies)

  const context = (isDirect: boolean): Context => ({
    isDirect,
    user: isDirect ? server.account.user : server.iamUsers[0],
    password: isDirect ? server.account.password : '',
    otherUser: isDirect ? server.account.user : server.iamUsers[1],
    otherPassword: isDirect ? server.account.password : '',
    localUser: LOCAL_USER,
    localPassword: LOCAL_PASSWORD,
    file,
    isMariadb: server.isMariadb,
  })

  return {
    server,
    missing: proxies.missing,
    async run(client, behaviours) {
      const possible = behaviours.filter(({ route = 'plain' }) => proxies.addresses[route])
      const proxied: Work = {
        direct: false,
        file,
        targets: targetsOf(proxies.addresses, context(false)),
        behaviours: possible.map(({ id, steps }) => ({ id, steps: steps(context(false)) })),
      }
      const direct: Work = {
        direct: true,
        file,
        targets: targetsOf(directAddresses(server), context(true)),
        behaviours: possible
          .filter(({ proxiedOnly, route }) => !proxiedOnly && (route !== 'unix socket' || server.socket))
          .map(({ id, steps }) => ({ id, steps: steps(context(true)) })),
      }
      const through = await runClient(client, proxied)
      const directly = await runClient(client, direct)
      const names = [...server.iamUsers, server.account.user]
      const cells = new Map<string, Cell>()
      for (const behaviour of behaviours) {
        const { id } = behaviour
        const steps = proxied.behaviours.find(each => each.id === id)?.steps
        if (!steps) {
          cells.set(id, { outcome: 'not run', detail: `the proxy has no ${behaviour.route} yet` })
          continue
        }
        const directSteps = direct.behaviours.find(each => each.id === id)?.steps
        const cell = judge({
          behaviour,
          steps,
          proxied: through.reports.get(id),
          direct: directSteps && { steps: directSteps, report: directly.reports.get(id) },
          names,
        })
        // The path on this machine does not matter.
        cells.set(id, { ...cell, detail: cell.detail?.replaceAll(`${scratch}/`, '') })
      }
      return { version: through.version ?? directly.version, cells }
    },
    async stop() {
      await stopKilling()
      await proxies.stop()
      await server.query(`DROP DATABASE IF EXISTS ${DATABASE}`).catch(() => undefined)
    },
  }
}

function directAddresses(server: Server): Proxies['addresses'] {
  const address = { host: server.host, port: server.port }
  return {
    plain: address,
    'local user': address,
    ...(server.socket ? { 'unix socket': { ...address, socket: server.socket } } : {}),
  }
}

function targetsOf(addresses: Proxies['addresses'], { user, password }: Context): Partial<Record<Route, Target>> {
  const entries = Object.entries(addresses).map(([route, address]) => [
    route,
    { ...address, user, password, database: DATABASE },
  ])
  return Object.fromEntries(entries)
}

/** Kills the running query of each connection in the table `kills`, through the proxy. */
function startKilling(server: Server, proxies: Proxies): () => Promise<void> {
  let isOver = false
  const { host, port } = proxies.addresses.plain!
  const loop = async () => {
    const connection = await mysql.createConnection({ host, port, user: server.iamUsers[0], database: DATABASE })
    while (!isOver) {
      const [rows] = await connection.query<mysql.RowDataPacket[]>(
        `SELECT id FROM information_schema.processlist JOIN kills ON id = thread_id WHERE info LIKE '%SLEEP(15)%'`,
      )
      for (const { id } of rows as { id: number }[]) {
        await connection.query('KILL QUERY ?', [id]).catch(() => undefined) // the query may already have finished
        await connection.query('DELETE FROM kills WHERE thread_id = ?', [id])
      }
      await sleep(200)
    }
    await connection.end()
  }
  const done = loop()
  done.catch(() => undefined)
  return async () => {
    isOver = true
    // Queries that were not killed show in the cells.
    await done.catch(() => undefined)
  }
}
