import { EventEmitter } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { tsImport } from 'tsx/esm/api'
import { createProxy } from '../src/index.ts'
import { compilerErrors } from './support/type-check.ts'

const RDS = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const library = fileURLToPath(new URL('../src/index.ts', import.meta.url))

/** The TypeScript examples of docs/library.md, with the package's name replaced by `module`. */
async function examples(module: string): Promise<string[]> {
  const text = await readFile(new URL('../docs/library.md', import.meta.url), 'utf8')
  const found = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!)
  return found.map(code => code.replaceAll("'mysql-iam-proxy'", `'${module}'`))
}

test('the examples of docs/library.md compile', async t => {
  const files = Object.fromEntries((await examples(library)).map((code, index) => [`example-${index + 1}.ts`, code]))
  t.equal(Object.keys(files).length, 9)
  t.same(await compilerErrors(files), [])
  const wrong = { 'wrong.ts': (await examples(library))[0]!.replace('rdsEndpoint', 'rdsEndpiont') }
  t.match(await compilerErrors(wrong), [/^wrong\.ts.*rdsEndpiont/], 'which notices a wrong one')
})

test('the examples of docs/library.md run', async t => {
  process.env['AWS_EC2_METADATA_DISABLED'] = 'true'
  const printed: string[] = []
  const { log } = console
  console.log = (line: string) => void printed.push(line)
  t.teardown(() => {
    console.log = log
    delete process.env['AWS_EC2_METADATA_DISABLED']
  })
  const directory = t.testdir({})
  for (const [index, code] of (await examples(library)).entries()) {
    const path = join(directory, `example-${index + 1}.ts`)
    await writeFile(path, code)
    await tsImport(path, import.meta.url)
  }
  console.log = log
  t.match(printed, [
    /^mysql -h 127\.0\.0\.1 -P \d+ -u iam_user$/,
    /^a report through port \d+$/,
    /^0 clients on 127\.0\.0\.1:\d+, 0 logins so far$/,
    'CONFIG_INVALID',
    'loginTimeout: 0 is not from 1 to 86400000',
    /^Correct these options of createProxy\./,
    /^An option is /,
  ])
})

test("errors name the library's options, all mistakes at once", async t => {
  const bad = {
    rdsEndpoint: `https://${RDS}`,
    connect: 'nlb:port',
    listen: '3306',
    region: 'ireland',
    allowFrom: ['10.0.0.0/8', '10.0.0.0/99'],
    maxConnections: -1,
    connectTimeout: Number.NaN,
    busyPoll: 2,
    tokenInHandshake: 'sometimes' as 'auto',
  }
  const expected = [
    'rdsEndpoint: this is a URL of https; write host or host:port of a MySQL or MariaDB database',
    'connect: "nlb:port" is not host or host:port',
    'listen: "3306" has no host; write 127.0.0.1:3306 for that port',
    'region: "ireland" is not an AWS region such as eu-west-1',
    'tokenInHandshake: "sometimes" is not one of auto, always, never',
    'allowFrom[1]: "10.0.0.0/99" is not a network such as 10.0.0.0/8',
    'maxConnections: -1 is not from 0 to 9999999',
    'connectTimeout: NaN is not from 1 to 86400000',
    'busyPoll: 2 is not from 0 to 1',
  ]
  const message = expected.join('; ')
  t.throws(() => createProxy(bad), { name: 'ProxyError', code: 'CONFIG_INVALID', message, hint: /docs\/library\.md/ })
})

test('options that conflict are refused', async t => {
  const cases: [Partial<Parameters<typeof createProxy>[0]>, RegExp][] = [
    [{ rdsEndpoint: 'db.example.com' }, /^rdsEndpoint: no AWS region in the name .*, or set region$/],
    [{ listen: '0.0.0.0:0' }, /^listen: other machines can reach .*\(localUsers\) and TLS \(tls\), or trustNetwork if/],
    [{ requireTls: true, localTls: 'off' }, /^requireTls: contradicts localTls off$/],
    [{ tls: { certFile: 'a', keyFile: 'b' }, localTls: 'off' }, /^localTls: off contradicts tls$/],
    [{ caOnly: true }, /^caOnly: needs at least one ca$/],
    [{ ca: ['no certificate'] }, /^ca\[0\]: not a certificate in PEM format$/],
    [{ localUsers: [{ name: 'a', password: '' }] }, /^localUsers\[0\]\.password: needs a value$/],
  ]
  for (const [options, message] of cases) {
    t.throws(() => createProxy({ rdsEndpoint: RDS, ...options }), { code: 'CONFIG_INVALID', message })
    try {
      createProxy({ rdsEndpoint: RDS, ...options })
    } catch (error) {
      t.notMatch((error as Error).message, /--[a-z]/, 'no flag')
    }
  }
  const tls = { certFile: '/no/such.pem', keyFile: '/no/such.key' }
  const proxy = createProxy({ rdsEndpoint: RDS, listen: '127.0.0.1:0', tls })
  await t.rejects(proxy.listen(), {
    code: 'CONFIG_INVALID',
    message: 'TLS certificate /no/such.pem: ENOENT; TLS key /no/such.key: ENOENT',
  })
})

test('a proxy shows its status and no internals', async t => {
  const proxy = createProxy({ rdsEndpoint: RDS, connect: 'nlb.example', name: 'orders', listen: '127.0.0.1:0' })
  const own = Object.keys(proxy).filter(key => !(key in new EventEmitter()))
  t.same(own.sort(), ['close', 'connect', 'listen', 'metrics', 'status', 'statusPage', 'stopListening'])
  const before = proxy.status()
  t.same(before, {
    name: 'orders',
    state: 'idle',
    rdsEndpoint: `${RDS}:3306`,
    connect: 'nlb.example:3306',
    region: 'eu-west-1',
    address: undefined,
    sessions: [],
    loginsQueued: 0,
    logins: {},
    bytesFromClients: 0,
    bytesFromServer: 0,
    lineBytesFromClients: 0,
    lineBytesFromServer: 0,
    compression: undefined,
    credentialsFailed: false,
    credentialsExpire: undefined,
    certificateExpires: undefined,
    recentErrors: [],
  })
  await proxy.close()
  proxy.stopListening()
})
