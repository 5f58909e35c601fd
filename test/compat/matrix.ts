/** Runs clients through the proxy and directly, on one server. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import { type Behaviour, type Context, DATABASE, FILE_ROWS, type Route, STOPPED_LOCK, wordOf } from './behaviours.ts'
import { type Command, runClient, type Work } from './client-run.ts'
import { type ErrorProxies, expectedErrors, startDirectErrors, startErrorProxies } from './error-proxies.ts'
import { type Cell, judge } from './judge.ts'
import { LOCAL_PASSWORD, LOCAL_USER, type Proxies, startProxies, type Target } from './proxies.ts'
import { prepareServer, type Server } from './servers.ts'
import { judgeShown } from './shown.ts'

/** The results of one client, by behaviour. */
export interface Run {
  version: string | undefined
  cells: Map<string, Cell>
}

export interface Bench {
  server: Server
  /** routes that this version of the proxy does not support */
  missing: Route[]
  run(client: Command, behaviours: Behaviour[]): Promise<Run>
  stop(): Promise<void>
}

/**
 * @param program how to start the proxy
 * @param scratch a directory for sockets and files
 */
export async function setUpBench(server: Server, program: readonly string[], scratch: string): Promise<Bench> {
  await prepareServer(server)
  const file = join(scratch, 'loaded.tsv')
  await writeFile(file, Array.from({ length: FILE_ROWS }, (_, i) => `${i + 1}\t${wordOf(i + 1)}\n`).join(''))
  const proxies = await startProxies(server, program, scratch)
  const tooMany = proxies.addresses['too many connections']!
  const errorProxies = await startErrorProxies(server, program, tooMany, scratch)
  const directErrors = await startDirectErrors(server)
  const addresses = { ...proxies.addresses, ...errorProxies.addresses }
  const expected = await expectedErrors(addresses)
  const stopKilling = startKilling(server, proxies)
  const stopping = await startStopping(server, proxies, errorProxies)

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
      const possible = behaviours.filter(({ route = 'plain' }) => addresses[route])
      const proxied: Work = {
        direct: false,
        file,
        targets: targetsOf(addresses, context(false)),
        behaviours: possible.map(({ id, steps }) => ({ id, steps: steps(context(false)) })),
      }
      const direct: Work = {
        direct: true,
        file,
        targets: targetsOf({ ...directAddresses(server), ...directErrors.addresses }, context(true)),
        behaviours: possible
          .filter(({ proxiedOnly, route }) => !proxiedOnly && (route !== 'unix socket' || server.socket))
          .map(({ id, steps }) => ({ id, steps: steps(context(true)) })),
      }
      await stopping.prepare()
      const through = await runClient(client, proxied)
      await stopping.prepare()
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
        const report = directly.reports.get(id)
        const shown = through.reports.get(id)
        const { shows } = behaviour
        const cell = shows
          ? judgeShown({
              expected: expected.get(shows)!,
              proxied: shown,
              direct: { expected: directErrors.expected.get(shows)!, report },
            })
          : judge({ behaviour, steps, proxied: shown, direct: directSteps && { steps: directSteps, report }, names })
        // Paths and ports of this run do not matter.
        const detail = cell.detail
          ?.replaceAll(`${scratch}/`, '')
          .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:PORT')
          // A driver may show the bytes of a packet.
          .replace(/\p{Cc}+/gu, ' ')
        cells.set(id, { ...cell, detail })
      }
      return { version: through.version ?? directly.version, cells }
    },
    async stop() {
      await Promise.all([stopKilling(), stopping.stop()])
      await Promise.all([proxies.stop(), errorProxies.stop(), directErrors.stop()])
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

interface Stopping {
  /** Before each run of a client: the proxy of the shutdown listens, and the runner has the lock. */
  prepare(): Promise<void>
  stop(): Promise<void>
}

/**
 * Ends the session of each connection in the table `stops`: through the proxy by stopping the proxy, directly by KILL.
 * The client waits for it with a second connection, in a lock of the server.
 */
async function startStopping(server: Server, proxies: Proxies, errorProxies: ErrorProxies): Promise<Stopping> {
  const { host, port } = proxies.addresses.plain!
  const connection = await mysql.createConnection({ host, port, user: server.iamUsers[0], database: DATABASE })
  let isOver = false
  const lock = async () => {
    const [rows] = await connection.query<mysql.RowDataPacket[]>(`SELECT GET_LOCK('${STOPPED_LOCK}', 0) AS locked`)
    return rows[0]!.locked === 1
  }
  const loop = async () => {
    while (!isOver) {
      const [rows] = await connection.query<mysql.RowDataPacket[]>(
        `SELECT stops.thread_id, is_direct FROM stops JOIN information_schema.processlist
         ON info LIKE 'SELECT GET_LOCK(_${STOPPED_LOCK}%'`,
      )
      const [row] = rows as { thread_id: number; is_direct: number }[]
      if (row) {
        await connection.query('DELETE FROM stops')
        // The client may have disconnected by now.
        if (row.is_direct) await connection.query('KILL ?', [row.thread_id]).catch(() => undefined)
        else await errorProxies.stopForShutdown()
        await connection.query(`SELECT RELEASE_LOCK('${STOPPED_LOCK}')`)
      }
      await sleep(200)
    }
    await connection.end()
  }
  const done = loop()
  done.catch((error: Error) => process.stderr.write(`sessions are no longer ended: ${error.message}\n`))
  return {
    async prepare() {
      await errorProxies.startAfterShutdown()
      // A client that did not get that far leaves the lock to the runner, and a second one would count.
      await connection.query(`SELECT RELEASE_LOCK('${STOPPED_LOCK}')`)
      while (!(await lock())) await sleep(200)
      await connection.query('DELETE FROM stops')
    },
    async stop() {
      isOver = true
      // Sessions that were not ended show in the cells.
      await done.catch(() => undefined)
    },
  }
}
