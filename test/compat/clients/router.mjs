/**
 * MySQL Router with connection sharing, between a client program and its targets. The arguments are how to start that
 * program. It gets the same targets, at the addresses of Router.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'

const [program, ...args] = process.argv.slice(2)
const given = JSON.parse(process.env.COMPAT)
const directory = await mkdtemp(join(tmpdir(), 'compat-router-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
const sections = []
const targets = {}
for (const [i, [route, target]] of Object.entries(given.targets).entries()) {
  // Clients reach Router over TCP without TLS.
  if (target.socket || target.ca) continue
  const port = await freePort()
  targets[route] = { ...target, port }
  sections.push(`[routing:route${i}]
bind_address=127.0.0.1
bind_port=${port}
destinations=${target.host}:${target.port}
routing_strategy=first-available
protocol=classic
client_ssl_mode=DISABLED
server_ssl_mode=PREFERRED
server_ssl_verify=DISABLED
connection_sharing=1
connection_sharing_delay=0
max_connect_errors=1000000
`)
}

/** Why a behaviour cannot run. Undefined if it can. */
function reasonAgainst({ steps }) {
  if (isMariadb) return 'connection sharing sets session_track_gtids, which MariaDB does not know'
  if (steps.some(({ sql }) => /; ?SELECT/.test(sql))) return 'connection sharing forbids multi-statements'
  const missing = steps.find(({ to }) => to && !targets[to])
  return missing && `the test has no route of Router to ${missing.to}`
}

const { host, port, user, password } = given.targets.plain
const connection = await mysql.createConnection({ host, port, user, password })
const [[{ version: serverVersion }]] = await connection.query('SELECT VERSION() AS version')
connection.destroy()
const isMariadb = /mariadb/i.test(serverVersion)
// The runner takes the first version.
const [version] = /\d+\.\d+\.\d+/.exec(execFileSync('mysqlrouter', ['--version'], { encoding: 'utf8' }))
print({ version })
const behaviours = given.behaviours.filter(behaviour => {
  const unsupported = reasonAgainst(behaviour)
  if (unsupported) print({ behaviour: behaviour.id, unsupported })
  return !unsupported
})
if (behaviours.length === 0) process.exit()

const file = join(directory, 'router.conf')
await writeFile(
  file,
  `[DEFAULT]
logging_folder=${directory}
runtime_folder=${directory}
data_folder=${directory}
plugin_folder=${process.env.COMPAT_PLUGINS}
connect_timeout=5

[logger]
level=error

[connection_pool]
max_idle_server_connections=16

${sections.join('\n')}`,
)
const router = spawn('mysqlrouter', ['-c', file], { stdio: ['ignore', 'ignore', 'inherit'] })
const ended = once(router, 'exit').then(([code]) => `mysqlrouter exited with ${code}`)
await Promise.race([
  ended.then(reason => Promise.reject(new Error(reason))),
  ...Object.values(targets).map(({ port }) => untilListening(port)),
])
const client = spawn(program, args, {
  stdio: 'inherit',
  env: { ...process.env, COMPAT: JSON.stringify({ ...given, targets, behaviours }) },
})
const [code] = await once(client, 'exit')
router.kill('SIGKILL')
await ended
process.exit(code ?? 1)

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function untilListening(port) {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isOpen) return
    await sleep(50)
  }
}

async function freePort() {
  const taken = Object.values(targets).map(({ port }) => port)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return taken.includes(port) ? await freePort() : port
}
