import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  access,
  chmod,
  copyFile,
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { DockerfileParser } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import { type Test, test } from 'tap'
import packageJson from '../../package.json' with { type: 'json' }
import { buildWithoutDocker, type Image } from '../support/dockerfile.ts'
import { readExample } from '../support/examples.ts'

const context = fileURLToPath(new URL('../..', import.meta.url))
const dockerfile = join(context, 'examples/docker/Dockerfile')

test('the Dockerfile is valid', async t => {
  const text = readExample('docker/Dockerfile')
  t.same(validate(text), [])
  t.match(validate(text.replace('EXPOSE 3306', 'EXPOSE mysql'))[0]?.message, /mysql/, 'the check finds a wrong port')
  for (const from of DockerfileParser.parse(text).getFROMs()) {
    t.ok(from.getImageTag() && from.getImageTag() !== 'latest', `${from.getImage()}: pinned by a tag`)
  }
})

test('the image of the Dockerfile', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-image-'))
  t.teardown(() => rm(directory, { recursive: true }))
  await chmod(directory, 0o755)
  const image = await buildWithoutDocker(dockerfile, context, directory)
  const [interpreter, program] = image.entrypoint

  t.equal(image.stopSignal, 'SIGTERM')
  t.match(image.user, /^[1-9]\d*:[1-9]\d*$/, 'a numeric user other than root')
  t.match(image.base, /^gcr\.io\/distroless\/nodejs\d+-/)
  t.equal(interpreter, '/nodejs/bin/node', 'its path in distroless')
  const link = join(image.root, '/app/bin/mysql-iam-proxy')
  t.equal(await realpath(link), await realpath(join(image.root, program!)), 'the link points to the program')
  t.equal((await readFile(link, 'utf8')).split('\n')[0], `#!${interpreter}`)
  t.ok(image.environment['PATH']!.split(':').includes('/app/bin'))

  const files = await readdir(image.root, { recursive: true })
  t.same(
    files.filter(file => file.endsWith('.node')),
    [],
    'nothing that depends on the processor',
  )
  const packages = new Set(files.map(file => /^app\/node_modules\/([^@/][^/]*|@[^/]+\/[^/]+)$/.exec(file)?.[1]))
  for (const name of ['tap', 'tsx', 'typescript', '@biomejs/biome']) t.notOk(packages.has(name), `without ${name}`)
  for (const name of Object.keys(packageJson.dependencies)) t.ok(packages.has(name), `with ${name}`)

  await t.test("starts, serves and stops at SIGTERM, as the image's user", async t => {
    await placeInterpreter(join(image.root, interpreter!))
    const version = start(t, image, ['--version'])
    const [printed] = (await once(version.stdout!, 'data')) as [Buffer]
    t.equal(String(printed).trim(), packageJson.version)

    const proxy = start(t, image, [], {
      MYSQL_IAM_PROXY_RDS_ENDPOINT: 'orders.cluster-abcdefghijkl.eu-west-1.rds.amazonaws.com',
      MYSQL_IAM_PROXY_CONNECT: '127.0.0.1:1', // nobody listens there
      MYSQL_IAM_PROXY_LISTEN: '127.0.0.1:0',
    })
    const exit = once(proxy, 'exit')
    let errors = ''
    proxy.stderr!.on('data', chunk => {
      errors += chunk
    })
    let port = 0
    for await (const line of createInterface(proxy.stdout!)) {
      port = Number(/127\.0\.0\.1:(\d+)/.exec(JSON.parse(line).msg)?.[1])
      if (port) break
    }
    t.ok(port, `listening ${errors}`)
    const client = connect(port, '127.0.0.1')
    const [answer] = (await once(client, 'data')) as [Buffer]
    client.destroy()
    t.match(String(answer), /mysql-iam-proxy: .*127\.0\.0\.1:1/, 'the ERR_Packet says what is wrong')
    proxy.kill(image.stopSignal as NodeJS.Signals)
    t.same(await exit, [143, null])
  })
})

test('a Dockerfile that copies a missing or ignored file is invalid', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-image-'))
  t.teardown(() => rm(directory, { recursive: true }))
  await cp(join(context, '.dockerignore'), join(directory, '.dockerignore'))
  await t.rejects(buildWithoutDocker(dockerfile, directory, join(directory, 'a')), /keeps .*, which is not there/)
  const wrong = join(directory, 'Dockerfile')
  await writeFile(wrong, 'FROM a:1\nCOPY test test/\n')
  await t.rejects(buildWithoutDocker(wrong, context, join(directory, 'b')), /dockerignore keeps it out/)
})

/** As another user, where this is root; with no environment but the image's. */
function start(t: Test, image: Image, args: string[], environment: Record<string, string> = {}): ChildProcess {
  const [uid, gid] = image.user.split(':').map(Number)
  const entrypoint = image.entrypoint.map(path => join(image.root, path))
  // without the code that tap has every Node.js process load, from where this user may not read
  const child = spawn('env', ['-u', 'NODE_OPTIONS', ...entrypoint, ...args], {
    cwd: image.root,
    env: { ...image.environment, ...environment, AWS_EC2_METADATA_DISABLED: 'true' },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(process.getuid?.() === 0 ? { uid: uid!, gid: gid! } : {}),
  })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** This Node.js at `path`, where another user reaches it. */
async function placeInterpreter(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const present = await realpath(process.execPath)
  await link(present, path).catch(() => copyFile(present, path))
  await access(path)
}
