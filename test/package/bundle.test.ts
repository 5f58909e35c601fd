/** The one file of the single executables, run by plain Node.js: nothing may be left outside. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { test } from 'tap'
import { makeBundle } from '../../bin/package/bundle.ts'
import { makeSbom } from '../../bin/package/sbom.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
// Outside of the project, where Node.js finds no packages.
const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-bundle-'))
t.teardown(() => rm(directory, { recursive: true }))
const bundle = await makeBundle(directory)

test('what the bundle does not contain is part of Node.js, or optional', t => {
  t.ok(bundle.external.includes('node:tls'))
  // Each of them is optional: ws and mysql2 catch the error of a missing one.
  const optional = ['bufferutil', 'cardinal', 'utf-8-validate']
  t.same(
    bundle.external.filter(name => !isBuiltin(name)),
    optional,
  )
  t.end()
})

test('each import() of the sources names its module, so that the bundle contains it', async t => {
  const names = await readdir(join(root, 'src'), { recursive: true })
  const sources = names.filter(name => name.endsWith('.ts'))
  t.ok(sources.length > 100)
  for (const name of sources) t.notMatch(await readFile(join(root, 'src', name), 'utf8'), /\bimport\((?!')/, name)
})

test('an import() of a package in CommonJS takes its default, because a bundle in ESM format has no other', async t => {
  const names = await readdir(join(root, 'src'), { recursive: true })
  for (const name of names.filter(name => name.endsWith('.ts'))) {
    const text = await readFile(join(root, 'src', name), 'utf8')
    for (const [line, module] of text.matchAll(/^.*\bimport\('([^.'][^']*)'\).*$/gm)) {
      const isEsm = /^(@aws-sdk\/|@clack\/prompts$|ws$)/.test(module!)
      t.ok(isEsm || line.includes('{ default: '), `${name}: ${line.trim()}`)
    }
  }
})

test('the version, an explanation, a page and the completions', async t => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  t.same(runBundle('--version'), { status: 0, stdout: `${version}\n`, stderr: '' })
  t.match(runBundle('explain', '1045'), { status: 0, stdout: /rds-db:connect/, stderr: '' })
  t.match(runBundle('docs', 'clients/dbeaver'), { status: 0, stdout: /^# DBeaver/, stderr: '' })
  t.match(runBundle('completion', 'bash'), { status: 0, stdout: /complete/, stderr: '' })
})

test('the software bill of materials of the executables names every package in the bundle', async t => {
  const release = await mkdtemp(join(directory, 'release-'))
  const [file] = await makeSbom({ version: '1.2.3', release, temporary: release, log: () => {} })
  const sbom = JSON.parse(await readFile(join(release, file!), 'utf8'))
  t.match(sbom, { bomFormat: 'CycloneDX', metadata: { component: { name: 'mysql-iam-proxy', type: 'application' } } })
  const names = sbom.components.map(({ name }: { name: string }) => name)
  t.ok(['mysql2', 'pino', '@aws-sdk/core', 'node'].every(name => names.includes(name)))
  t.notOk(names.includes('esbuild'), 'a package of the development')
})

test('the demo logs in', async t => {
  const child = spawn(process.execPath, [bundle.file, 'demo', '--port', '0'], {
    cwd: directory,
    // Without a server on the path, the demo's own backend answers.
    env: { ...process.env, PATH: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  child.stderr.on('data', chunk => {
    text += chunk
  })
  for await (const chunk of child.stdout) {
    text += chunk
    if (text.includes('Press Ctrl-C')) break
  }
  t.match(text, /verified a token of 3\d\d bytes for iam_user, over TLSv1\.3/)
  t.match(text, /ERROR 1045 \(28000\): Access denied for user 'nobody'@/)
  child.kill('SIGTERM')
  await once(child, 'exit')
})

function runBundle(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bundle.file, ...args], {
    cwd: directory,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}
