/**
 * What `npm run package` has made: the executables, as far as a Linux machine can run or read them. `npm run test:package`
 * runs this and then the tests of the command line, with the executable as the program.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { arch, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import t, { type Test, test } from 'tap'
import { executableName, TARGETS } from '../../bin/package/executables.ts'
import { unpackNode } from '../../bin/package/node-binary.ts'
import { loadPage } from '../../src/admin/page.ts'
import { packageVersion } from '../../src/version.ts'
import { ensurePackages, ensureProgram, env } from '../support/packages.ts'
import { releasedFile } from '../support/released-file.ts'

/** Debian's folder of the libraries that qemu takes for those of an arm64 machine. */
const ARM64_LIBRARIES = '/usr/aarch64-linux-gnu'

// A folder that has nothing but the program.
const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-executables-'))
await chmod(directory, 0o755)
t.teardown(() => rm(directory, { recursive: true }))

async function alone(target: string): Promise<string> {
  const path = join(directory, executableName('alone', target))
  await copyFile(await releasedFile(target), path)
  return path
}

function run([command, ...args]: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(command!, args, {
    cwd: directory,
    encoding: 'utf8',
    env: bareEnvironment(),
  })
  return { status, stdout, stderr }
}

/** No Node.js and no database on the path; no settings. */
function bareEnvironment(): NodeJS.ProcessEnv {
  return { PATH: directory, HOME: directory, AWS_EC2_METADATA_DISABLED: 'true' }
}

/** Runs the demo with its own backend, and logs in like a client. */
async function checkDemo(t: Test, [command, ...args]: readonly string[]): Promise<void> {
  const child = spawn(command!, [...args, 'demo', '--port', '0'], {
    cwd: directory,
    env: bareEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    text += chunk
    if (text.includes('Press Ctrl-C')) break
  }
  t.match(text, /Behind it: a small built-in backend/)
  t.match(text, /verified a token of 3\d\d bytes for iam_user, over TLSv1\.3/)
  t.match(text, /ERROR 1045 \(28000\): Access denied for user 'nobody'@/)
  const port = Number(/-P (\d+) -u iam_user demo/.exec(text)?.[1])
  // The server of an emulated processor is slow.
  const connection = await mysql.createConnection({
    host: '127.0.0.1',
    port,
    user: 'iam_user',
    connectTimeout: 300_000,
  })
  t.match((await connection.query('select current_user()'))[0], [{ 'current_user()': 'iam_user@%' }])
  await connection.end()
  child.kill('SIGTERM')
  child.stdout.resume()
  const [code] = await once(child, 'exit')
  t.equal(code, 0)
}

test(`this machine's executable, without Node.js and the sources`, async t => {
  const program = await alone(`linux-${arch()}`)
  t.same(run([program, '--version']), { status: 0, stdout: `${packageVersion()}\n`, stderr: '' })
  t.match(run([program, 'explain', '1045']), { status: 0, stdout: /rds-db:connect/ })
  t.match(run([program, 'docs']), { status: 0, stdout: /^clients\/dbeaver +DBeaver/m, stderr: '' })
  t.match(run([program, 'docs', 'notices']), { status: 0, stdout: /Node\.js is licensed for use as follows/ })
  t.match(run([program, 'check', 'example.com']), { status: 2, stdout: /CONFIG_INVALID/ })
  await checkDemo(t, [program])
})

test('the status page', async t => {
  const program = await alone(`linux-${arch()}`)
  const endpoint = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
  const args = ['--rds-endpoint', endpoint, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0']
  const child = spawn(program, args, { cwd: directory, env: bareEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  let address: string | undefined
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout) {
    text += chunk
    address = /admin listener on (http:[^"\s]+)/.exec(text)?.[1]
    if (address) break
  }
  const response = await fetch(`${address}/`)
  t.equal(response.status, 200)
  t.equal(await response.text(), loadPage().html)
})

test('arm64 on an emulated processor', async t => {
  await ensureProgram('qemu-aarch64-static', 'qemu-user-static')
  const isPresent = () => spawnSync('ls', [`${ARM64_LIBRARIES}/lib/libstdc++.so.6`]).status === 0
  await ensurePackages('libraries for arm64', isPresent, ['libc6-arm64-cross', 'libstdc++6-arm64-cross'])
  const qemu = '/usr/bin/qemu-aarch64-static'
  const command = [qemu, '-L', ARM64_LIBRARIES, await alone('linux-arm64')]
  t.same(run([...command, '--version']), { status: 0, stdout: `${packageVersion()}\n`, stderr: '' })
  await checkDemo(t, command)
})

test('the signature of the programs for macOS, and the symbols that they bind', async t => {
  const verifier = fileURLToPath(new URL('macos-signature', import.meta.url))
  for (const target of TARGETS.filter(({ name }) => name.startsWith('darwin-'))) {
    const original = await unpackNode(target.package, target.node, directory)
    const args = ['run', '.', await releasedFile(target.name), join(original, 'bin/node')]
    const { status, stdout, stderr } = spawnSync('go', args, { cwd: verifier, encoding: 'utf8', env })
    t.equal(status, 0, `${target.name}: ${stdout}${stderr}`)
    t.match(stdout, /^mysql-iam-proxy, adhoc/)
  }
})

test('the program for Windows has the bundle as a resource, and no signature', async t => {
  await ensureProgram('llvm-readobj', 'llvm')
  const program = await releasedFile('win-x64')
  const { stdout } = spawnSync('llvm-readobj', ['--file-headers', '--coff-resources', program], { encoding: 'utf8' })
  t.match(stdout, /Machine: IMAGE_FILE_MACHINE_AMD64/)
  t.match(stdout, /CertificateTableSize: 0x0/)
  t.match(stdout, /Type: RCDATA \(ID 10\)[\s\S]*Name: NODE_SEA_BLOB/)
  const content = await readFile(program)
  t.ok(content.includes('NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:1'), 'Node.js will look for it')
  t.ok(content.includes(`"version":"${packageVersion()}"`))
})

test('SHA256SUMS has all files', async t => {
  const release = join(await releasedFile(`linux-${arch()}`), '..')
  const { status, stdout } = spawnSync('sha256sum', ['--check', 'SHA256SUMS'], { cwd: release, encoding: 'utf8' })
  t.equal(status, 0)
  const files = (await readdir(release)).filter(name => name !== 'SHA256SUMS')
  t.same(
    stdout.trim().split('\n'),
    files.sort().map(name => `${name}: OK`),
  )
})
