/**
 * Continuous logins with frequent failures, which show that memory, file descriptors and server connections do not grow: npm run soak -- [--minutes N] [--clients N]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startMariadb } from '../test/support/mariadb.ts'
import {
  COM_PING,
  COM_QUERY,
  COM_RESET_CONNECTION,
  connect,
  connectRaw,
  logInRaw,
  readRows,
  runCommand,
  sendCommand,
} from '../test/support/raw-client.ts'

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '11' }, clients: { type: 'string', default: '8' } },
})
const minutes = Number(values.minutes)
const clients = Number(values.clients)
const COM_QUIT = 0x01

const server = await startMariadb()
const scratch = mkdtempSync(join(tmpdir(), 'mysql-iam-proxy-soak-'))
const ca = join(scratch, 'ca.pem')
writeFileSync(ca, server.ca)
const proxy = spawn(
  process.execPath,
  [
    fileURLToPath(new URL('../dist/bin/mysql-iam-proxy.js', import.meta.url)),
    ...['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`],
    ...['--ca', ca, '--listen', '127.0.0.1:0', '--log-format', 'json'],
    // No limit, which would only add waiting.
    ...['--max-logins-per-second', '0'],
  ],
  {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      AWS_ACCESS_KEY_ID: server.keys.longTerm.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.keys.longTerm.secretAccessKey,
    },
  },
)
process.on('exit', () => proxy.kill('SIGKILL'))
const [said] = (await once(proxy.stdout, 'data')) as [Buffer]
proxy.stdout.resume()
const address = { host: '127.0.0.1', port: Number(/listening on 127\.0\.0\.1:(\d+)/.exec(said.toString())![1]) }

const counts = { logins: 0, queries: 0, changesOfUser: 0, faults: 0, failures: 0 }

/** The n-th connection of a client: usually a login and a query, sometimes a failure. */
async function visit(n: number): Promise<void> {
  if (n % 50 === 1) {
    const client = await connectRaw(address)
    client.socket.resetAndDestroy() // disconnects after the greeting
    counts.faults++
    return
  }
  if (n % 50 === 2) {
    const client = await connectRaw(address)
    client.socket.end('\x05\0\0\x01rubbish')
    await once(client.socket.resume(), 'close')
    counts.faults++
    return
  }
  if (n % 50 === 3) {
    await connect(address, { user: 'nobody' }).catch(() => undefined)
    counts.faults++
    return
  }
  if (n % 20 === 4) {
    const connection = await connect(address)
    counts.logins++
    await connection.changeUser({ user: 'iam2' })
    counts.changesOfUser++
    connection.destroy()
    return
  }
  const client = await logInRaw(address)
  counts.logins++
  const size = n % 200 === 5 ? 5_000_000 : 10
  sendCommand(client, COM_QUERY, `SELECT REPEAT('x', ${size})`)
  if (n % 200 === 6) {
    client.socket.destroy() // in the middle of the result
    counts.faults++
    return
  }
  for await (const row of readRows(client)) if (row.length !== size) throw new Error(`${row.length} bytes, not ${size}`)
  counts.queries++
  await runCommand(client, n % 2 ? COM_PING : COM_RESET_CONNECTION)
  sendCommand(client, COM_QUIT)
  await once(client.socket.end().resume(), 'close')
}

interface Sample {
  megabytes: number
  descriptors: number
}

function sample(): Sample {
  const status = readFileSync(`/proc/${proxy.pid}/status`, 'utf8')
  const megabytes = Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024
  return { megabytes, descriptors: readdirSync(`/proc/${proxy.pid}/fd`).length }
}

const ends = performance.now() + minutes * 60_000
let next = 0
const workers = Array.from({ length: clients }, async () => {
  while (performance.now() < ends) {
    await visit(next++).catch((error: Error) => {
      counts.failures++
      process.stderr.write(`${error.message}\n`)
    })
  }
})

const say = (line: string) => process.stdout.write(`${line}\n`)
say('| minute | logins | resident MB | open descriptors |')
say('| --- | --- | --- | --- |')
const samples: Sample[] = []
const row = () => {
  const now = sample()
  samples.push(now)
  const elapsed = (minutes - (ends - performance.now()) / 60_000).toFixed(1)
  say(`| ${elapsed} | ${counts.logins} | ${now.megabytes.toFixed(0)} | ${now.descriptors} |`)
}
while (performance.now() < ends) {
  await sleep(Math.min(60_000, ends - performance.now()))
  row()
}
await Promise.all(workers)
await sleep(2_000)
row()
const left = (await server.query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER LIKE 'iam%'")).length
say('')
say(
  `${Object.entries(counts)
    .map(([name, count]) => `${name}: ${count}`)
    .join(', ')}; connections left on the server: ${left}`,
)

proxy.kill()
await once(proxy, 'exit')
await server.stop()
rmSync(scratch, { recursive: true })
process.exit(counts.failures === 0 && left === 0 ? 0 : 1)
