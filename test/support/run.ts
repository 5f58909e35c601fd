/** Runs tap with one database server for all test files: node --import=tsx test/support/run.ts [tap's arguments] */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { serverVariable, startMariadb } from './mariadb.ts'

const tap = fileURLToPath(new URL('../../node_modules/.bin/tap', import.meta.url))

const { decisions: _decisions, query: _query, stop, ...description } = await startMariadb()
const child = spawn(tap, process.argv.slice(2), {
  stdio: 'inherit',
  env: { ...process.env, [serverVariable]: JSON.stringify(description) },
})
// A terminal's Ctrl-C reaches tap by itself. Either way, tap decides when it's over.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))

const [code] = (await once(child, 'exit')) as [number | null]
await stop()
process.exit(code ?? 1)
