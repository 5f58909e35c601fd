/** npm run compat: runs real clients through the proxy and directly, and writes docs/compatibility.md. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startMysql } from '../support/mysql.ts'
import { BEHAVIOURS, type Behaviour } from './behaviours.ts'
import type { Command } from './client-run.ts'
import { allClients, type Client } from './clients.ts'
import { parsePage } from './earlier-page.ts'
import { cacheDirectory } from './install.ts'
import { type Bench, setUpBench } from './matrix.ts'
import { type ClientResult, NOT_SELECTED, page } from './page.ts'
import { builtProxy } from './proxies.ts'
import { selectClients } from './select.ts'
import { SERVER_HELP, type Server, startOwnServer, useNamedServer } from './servers.ts'

const HELP = `npm run compat -- [options]

Runs real clients through the proxy and directly, and writes docs/compatibility.md. It installs clients from npm, PyPI,
Maven, the Go proxy, crates.io and Debian into node_modules/.cache/compat, and lists the ones that it cannot install.

  --server ${SERVER_HELP}
                           you can repeat this option
  --no-own                 do not start a temporary MariaDB and a temporary MySQL
  --clients TEXT           only the client of this name, or else the clients whose names contain this text;
                           you can repeat this option
  --behaviours ID,…        only these behaviours
  --errors                 only what each client shows of the proxy's errors
  --merge                  write the page, and keep on it what this run does not have. Without this option, a run of
                           some clients or behaviours writes the page only with --page
  --mysql-client COMMAND   how to start MySQL's mysql program, if not as mysql
  --scratch DIR            for sockets and files (default: a temporary directory)
  --page FILE              instead of docs/compatibility.md
`

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean' },
    server: { type: 'string', multiple: true, default: [] },
    'no-own': { type: 'boolean' },
    clients: { type: 'string', multiple: true },
    behaviours: { type: 'string' },
    errors: { type: 'boolean' },
    merge: { type: 'boolean' },
    'mysql-client': { type: 'string' },
    scratch: { type: 'string' },
    page: { type: 'string' },
  },
})

if (options.help) process.stdout.write(HELP)
else process.exit(await main())

async function main(): Promise<number> {
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  const clients = allClients({ mysqlClient: options['mysql-client'] })
  const wanted = options.clients ? selectClients(clients, options.clients) : clients
  const ids = options.behaviours?.split(',')
  const asked = BEHAVIOURS.filter(({ id }) => ids?.some(part => id.includes(part)) ?? true)
  const behaviours = options.errors ? asked.filter(({ shows }) => shows) : asked
  await mkdir(cacheDirectory, { recursive: true })
  const parent = options.scratch ?? (await mkdtemp(join(tmpdir(), 'compat-')))
  const benches: Bench[] = []
  try {
    const starts: (() => Promise<Server>)[] = options.server.map(text => () => useNamedServer(text))
    if (!options['no-own']) {
      starts.unshift(
        () => startOwnServer(parent),
        () => startOwnServer(parent, startMysql),
      )
    }
    for (const [i, start] of starts.entries()) {
      const directory = join(parent, String(i))
      await mkdir(directory, { recursive: true, mode: 0o755 })
      benches.push(await setUpBench(await start(), builtProxy, directory))
    }
    const file = options.page ?? fileURLToPath(new URL('../../docs/compatibility.md', import.meta.url))
    const isWhole = !(options.clients || options.behaviours || options.errors)
    const write = async (results: ClientResult[]) => {
      if (!(options.page || options.merge || isWhole)) return
      // Read each time, so that several runs can merge their results at the same time.
      const earlier = options.merge ? parsePage(await readFile(file, 'utf8')) : undefined
      const text = page({
        servers: benches.map(({ server }) => server.label),
        behaviours: options.merge ? BEHAVIOURS : behaviours,
        clients: results,
        missing: benches.flatMap(({ missing }) => missing),
        nodeVersion: process.versions.node,
        earlier,
      })
      await writeFile(file, text)
    }
    const results: ClientResult[] = []
    let next = wanted[0] && got(wanted[0])
    for (const client of clients) {
      if (!next || !wanted.includes(client)) {
        results.push({ ...client, cells: new Map(), missing: NOT_SELECTED })
        continue
      }
      const command = await next
      // Installs the next client meanwhile: that is mostly network traffic, so it hardly slows down the current one.
      const after = wanted[wanted.indexOf(client) + 1]
      next = after && got(after)
      const started = performance.now()
      const result = await runOnAll(client, command, benches, behaviours)
      results.push(result)
      say(result, performance.now() - started)
      if (options.merge) {
        // After each client, so that a run that is stopped has not been in vain.
        const rest = clients.slice(results.length)
        await write([...results, ...rest.map(it => ({ ...it, cells: new Map(), missing: NOT_SELECTED }))])
      }
    }
    await write(results)
    return results.some(({ broken, cells }) => broken?.size || [...cells.values()].some(isFailed)) ? 1 : 0
  } finally {
    for (const bench of benches) {
      await bench.stop()
      await bench.server.stop()
    }
    if (!options.scratch) await rm(parent, { recursive: true, force: true })
  }
}

async function got(client: Client): Promise<Command | Error> {
  try {
    return await client.prepare()
  } catch (error) {
    return error as Error
  }
}

async function runOnAll(
  { name, usedBy }: Client,
  command: Command | Error,
  benches: Bench[],
  behaviours: Behaviour[],
): Promise<ClientResult> {
  const result: ClientResult = { name, usedBy, cells: new Map(), broken: new Map() }
  if (command instanceof Error) return { ...result, missing: command.message }
  await Promise.all(
    benches.map(async ({ server, run }) => {
      try {
        const { version, cells } = await run(command, behaviours)
        result.version ??= version
        for (const [id, cell] of cells) {
          const byServer = result.cells.get(id) ?? new Map()
          result.cells.set(id, byServer.set(server.label, cell))
        }
      } catch (error) {
        result.broken?.set(server.label, (error as Error).message)
      }
    }),
  )
  return result
}

function isFailed(byServer: ClientResult['cells'] extends Map<string, infer Value> ? Value : never): boolean {
  return [...byServer.values()].some(({ outcome }) => outcome === 'failed')
}

function say({ name, version, missing, broken, cells }: ClientResult, milliseconds: number): void {
  if (missing !== undefined) {
    print(`${name}: not run: ${missing}`)
    return
  }
  const counts: Record<string, number> = {}
  const lines = [...(broken ?? [])].map(([server, reason]) => `  stopped: ${server}: ${reason}`)
  for (const [id, byServer] of cells) {
    for (const [server, { outcome, detail }] of byServer) {
      counts[outcome] = (counts[outcome] ?? 0) + 1
      if (outcome !== 'passed' && outcome !== 'unsupported')
        lines.push(`  ${outcome}: ${id}, ${server}: ${detail ?? ''}`)
    }
  }
  const summary = Object.entries(counts).map(([outcome, count]) => `${count} ${outcome}`)
  const seconds = Math.round(milliseconds / 1_000)
  print([`${name} ${version ?? ''}, ${seconds} s: ${summary.join(', ')}`, ...lines].join('\n'))
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
