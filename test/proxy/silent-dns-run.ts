/** The clients of silent-dns.test.ts, in a network and mount namespace with a name server that is silent. Prints what they saw. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startDnsServer } from '../support/dns-server.ts'
import { freePort } from '../support/free-port.ts'
import { startMariadb } from '../support/mariadb.ts'
import { connect, until, value } from '../support/raw-client.ts'
import { startProgram } from '../support/start-program.ts'

const CLIENTS = 50

execFileSync('ip', ['link', 'set', 'lo', 'up'])
const folder = await mkdtemp(join(tmpdir(), 'silent-dns-'))
const replace = async (file: string, text: string) => {
  const own = join(folder, file.replaceAll('/', '-'))
  await writeFile(own, text)
  execFileSync('mount', ['--bind', own, file])
}
const dns = await startDnsServer('127.0.0.1', 53)
dns.answer('silent')
await replace('/etc/resolv.conf', 'nameserver 127.0.0.1\n')
// The lookup of this name needs no name server, but a thread.
await replace('/etc/hosts', '127.0.0.1 localhost known.test\n')

const server = await startMariadb()
const t = { teardown: (stop: () => void) => process.on('exit', stop) } as unknown as Parameters<typeof startProgram>[0]
await writeFile(join(folder, 'ca.pem'), server.ca)
const health = `127.0.0.1:${await freePort()}`
const endpoint = (name: string) => `
  - name: ${name}
    rds-endpoint: ${server.rdsHost}:${server.rdsPort}
    connect: ${name}.test:${server.port}
    listen: 127.0.0.1:0
    ca: ${join(folder, 'ca.pem')}
    max-unauthenticated: 0
    connect-timeout: 15s`
const config = join(folder, 'config.yaml')
await writeFile(config, `health-listen: ${health}\nendpoints:${endpoint('silent')}${endpoint('known')}\n`)
const proxy = startProgram(t, ['--config', config, '--log-level', 'debug'], {
  XDG_RUNTIME_DIR: folder,
  AWS_ACCESS_KEY_ID: server.keys.longTerm.accessKeyId,
  AWS_SECRET_ACCESS_KEY: server.keys.longTerm.secretAccessKey,
})
const portOf = (name: string) => {
  const line = proxy.lines().find(({ endpoint, msg }) => endpoint === name && msg.startsWith('listening on '))
  return Number(/:(\d+)/.exec(line?.msg ?? '')?.[1] ?? 0)
}
await until('both endpoints listen', () => portOf('silent') > 0 && portOf('known') > 0)
const addressOf = (name: string) => ({ host: '127.0.0.1', port: portOf(name) })

let failed = 0
const silent = addressOf('silent')
const failures = Array.from({ length: CLIENTS }, () =>
  connect(silent, { connectTimeout: 120_000 }).then(
    () => 'logged in',
    (error: { code: string }) => {
      failed++
      return error.code
    },
  ),
)
await until('a client waits for the name server', () => dns.questions.length > 0)

const connection = await connect(addressOf('known'), { connectTimeout: 120_000 })
const seven = await value(connection, 'SELECT 7')
const { status } = await fetch(`http://${health}/liveness`)
const waiting = CLIENTS - failed
await connection.end()
await proxy.logged('session ended')
const resolvConf = await readFile('/etc/resolv.conf', 'utf8')
const codes = [...new Set(await Promise.all(failures))]

process.stdout.write(JSON.stringify({ seven, status, waiting, codes, resolvConf }))
await server.stop()
await dns.close()
process.exit(0)
