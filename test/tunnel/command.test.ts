/** The command of a tunnel: its words, and how its program starts and ends. */
import { once } from 'node:events'
import { test } from 'tap'
import { monotonicClock } from '../../src/clock.ts'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'
import { createCommandTransport } from '../../src/tunnel/command.ts'
import { fillCommand, splitCommand, tunnelCommandProblem } from '../../src/tunnel-command.ts'
import { failureOf } from '../support/failure-of.ts'
import { until } from '../support/raw-client.ts'

const target = { host: 'database-1.test', port: 3306 }
const never = new AbortController().signal

/** Listens on the given port. Ends at SIGTERM, unless the text before says something else. */
const LISTEN = `require('node:net').createServer(socket => socket.end('hello')).listen(+process.argv[1], '127.0.0.1')`
const node = (script: string) => `'${process.execPath}' -e "${script}" {localPort}`

test('a command is split as a shell does, without any other meaning', async t => {
  t.same(splitCommand(`  ssh -N  'a b' "c \\" d" e\\ f x'y'"z" \\\\ "\\d" '' `), [
    ...['ssh', '-N', 'a b', 'c " d', 'e f', 'xyz', '\\', '\\d', ''],
  ])
  t.same(splitCommand('C:\\ssh.exe -i "C:\\my keys\\id" {host}', 'win32'), [
    'C:\\ssh.exe',
    '-i',
    'C:\\my keys\\id',
    '{host}',
  ])
  t.same(splitCommand(`sh -c 'a | b > c; $(d)' "$HOME;"`), ['sh', '-c', 'a | b > c; $(d)', '$HOME;'])
  for (const text of ['a | b', 'a && b', 'a; b', 'a > b', 'a < b', 'a `b`', 'a $(b)']) {
    t.match(tunnelCommandProblem(`${text} {localPort}`), /needs a shell.*sh -c/, text)
  }
  t.match(tunnelCommandProblem(`'{localPort}`), /the quote ' has no end/)
  t.match(tunnelCommandProblem('  '), /is empty/)
  t.match(tunnelCommandProblem('ssh'), /has no \{localPort\}/)
  t.match(tunnelCommandProblem('ssh {localPort} {Host}'), /\{Host\} is unknown; did you mean host\?/)
  t.equal(tunnelCommandProblem(`aws {localPort} '{"host":["{host}"]}' --format {{.Name}}`), undefined)
})

test('values are filled in after the split', async t => {
  const command = `ssh -L {localPort}:{host}:{port} 'x {host}'`
  t.same(fillCommand(command, target, 5000), ['ssh', '-L', '5000:database-1.test:3306', 'x database-1.test'])
  t.same(fillCommand('{host} {localPort}', { host: 'fd00::1', port: 1 }, 2), ['[fd00::1]', '2'])
  t.same(fillCommand('a {host} {localPort}', { host: 'a; rm -rf', port: 1 }, 2), ['a', 'a; rm -rf', '2'])
  const transport = createCommandTransport('/usr/bin/ssh --password=hunter2 {host} {localPort}', silent)
  t.equal(transport.name, 'the tunnel command ssh')
  t.equal(transport.command?.(target), '/usr/bin/ssh --password=*** database-1.test 13306')
})

for (const shell of ['/bin/sh', undefined]) {
  const how = shell ? 'with the watching shell' : 'without a shell'
  const open = (command: string, stop = never) =>
    createCommandTransport(command, silent, monotonicClock, shell).open(target, stop)

  test(`${how}: it opens with the connection that showed it, and closes`, async t => {
    const tunnel = await open(node(LISTEN))
    const { connection } = tunnel
    const [chunk] = await once(connection!, 'data')
    t.equal(String(chunk), 'hello')
    t.equal(connection!.remotePort, tunnel.address.port)
    await Promise.all([tunnel.close(), tunnel.close()])
    t.equal(await tunnel.ended, undefined)
    connection!.destroy()
  })

  test(`${how}: a program that ends by itself says why`, async t => {
    const tunnel = await open(
      node(`${LISTEN}; setTimeout(() => { console.error('lost the network'); process.exit(9) }, 300)`),
    )
    tunnel.connection!.on('error', () => {}).destroy()
    t.match(await tunnel.ended, {
      code: 'TUNNEL_LOST',
      message: 'the tunnel command node ended with exit code 9: lost the network',
    })
    await tunnel.close()
  })

  test(`${how}: a program that a signal ends`, async t => {
    const tunnel = await open(node(`${LISTEN}; setTimeout(() => process.kill(process.pid, 'SIGKILL'), 300)`))
    tunnel.connection!.on('error', () => {}).destroy()
    t.match(await tunnel.ended, { code: 'TUNNEL_LOST', message: 'the tunnel command node was ended by SIGKILL' })
  })

  test(`${how}: a program that is missing`, async t => {
    const error = await failureOf(open('mysql-iam-proxy-no-such-program {localPort}'))
    t.match(error, {
      code: 'TUNNEL_PROGRAM_MISSING',
      message: /^the tunnel command mysql-iam-proxy-no-such-program cannot be started: .*(not found|ENOENT)/,
    })
  })

  test(`${how}: a program that ignores SIGTERM gets SIGKILL`, async t => {
    const tunnel = await open(node(`process.on('SIGTERM', () => {}); ${LISTEN}`))
    tunnel.connection!.on('error', () => {}).destroy()
    await tunnel.close()
    t.equal(await tunnel.ended, undefined)
  })

  test(`${how}: a start that is stopped leaves nothing behind`, async t => {
    const stop = new AbortController()
    const late = new ProxyError('TUNNEL_TIMEOUT', 'too late')
    const said: string[] = []
    const log = { ...silent, info: (_fields: object, message: string) => said.push(message) }
    const opening = createCommandTransport(
      node(
        `process.stdout.write('pid ' + process.pid + String.fromCharCode(10) + 'Enter PIN: '); setInterval(() => {}, 1e6)`,
      ),
      log,
      monotonicClock,
      shell,
    ).open(target, stop.signal)
    const failing = failureOf(opening)
    await until('it speaks', () => said.length > 0)
    stop.abort(late)
    const error = await failing
    t.match(error, { code: 'TUNNEL_TIMEOUT', message: 'too late: Enter PIN:', hint: /Nobody can answer/ })
    t.throws(() => process.kill(Number(/\d+/.exec(said[0]!)), 0), { code: 'ESRCH' })
    t.equal((await failureOf(open(node(LISTEN), stop.signal))).message, 'too late')
  })
}

test('the program does not get the settings of the proxy', async t => {
  process.env['MYSQL_IAM_PROXY_LOCAL_PASSWORD'] = 'x'
  t.teardown(() => delete process.env['MYSQL_IAM_PROXY_LOCAL_PASSWORD'])
  const script = `console.log('has ' + Object.keys(process.env).filter(name => name.startsWith('MYSQL_IAM')).length)`
  const error = await failureOf(createCommandTransport(node(script), silent).open(target, never))
  t.match(error.message, /ended with exit code 0: has 0$/)
})
