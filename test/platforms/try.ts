/**
 * Tries a program on a machine without a database: its version, the demo, and a login of a MySQL client.
 *
 *     node --import=tsx test/platforms/try.ts node dist/bin/mysql-iam-proxy.js
 *     node --import=tsx test/platforms/try.ts dist/release/mysql-iam-proxy-0.1.0-darwin-arm64
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createConnection } from 'mysql2/promise'
import packageJson from '../../package.json' with { type: 'json' }

const [command, ...first] = process.argv.slice(2)
if (command === undefined) throw new Error('usage: try.ts PROGRAM [ARGUMENT]...')

/** Starts the program. Its error output goes to the terminal. */
const start = (...args: string[]) => spawn(command, [...first, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })

async function version(): Promise<void> {
  const child = start('--version')
  const chunks: Buffer[] = []
  child.stdout.on('data', chunk => chunks.push(chunk))
  const [code] = await once(child, 'close')
  const printed = Buffer.concat(chunks).toString().trim()
  if (code !== 0 || printed !== packageJson.version) throw new Error(`--version printed ${printed}, exit code ${code}`)
  process.stdout.write(`--version: ${printed}\n`)
}

/** Resolves with the identity that the database sees. */
async function demo(): Promise<string> {
  const child = start('demo')
  const exited = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`the demo exited: ${code ?? signal}`)
  })
  const isReady = async () => {
    let port = 0
    for await (const line of createInterface(child.stdout)) {
      process.stdout.write(`${line}\n`)
      port ||= Number(/mysql -h 127\.0\.0\.1 -P (\d+) /.exec(line)?.[1] ?? 0)
      if (line.startsWith('Press Ctrl-C')) return port
    }
    throw new Error('the demo printed no port')
  }
  try {
    const port = await Promise.race([isReady(), exited])
    const client = await createConnection({ host: '127.0.0.1', port, user: 'iam_user', database: 'demo' })
    const [rows] = await client.query('SELECT CURRENT_USER() AS identity')
    await client.end()
    return (rows as { identity: string }[])[0]!.identity
  } finally {
    exited.catch(() => {})
    child.kill()
  }
}

await version()
const identity = await demo()
if (!identity.startsWith('iam_user@')) throw new Error(`The database sees ${identity}`)
process.stdout.write(`A client logged in. The database sees ${identity}.\n`)
