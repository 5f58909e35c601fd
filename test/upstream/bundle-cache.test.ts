import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Test, test } from 'tap'
import {
  bundleFile,
  defaultCacheFolder,
  NO_BUNDLE,
  readBundle,
  removeBundle,
  versionOfBundle,
  writeBundle,
} from '../../src/upstream/bundle-cache.ts'
import { parseBundle, type RdsRoot } from '../../src/upstream/rds-bundle.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'

const REGION = 'il-central-1'
const { root } = createRdsAuthority(REGION)
const roots = parseBundle(root, 'test').roots
const isRoot = process.geteuid?.() === 0

/** The path of a folder that does not exist yet. */
function newFolder(t: Test): string {
  return join(t.testdir(), 'cache', 'mysql-iam-proxy')
}

/** A folder with the file of the region. */
async function folderWithBundle(t: Test): Promise<string> {
  const folder = newFolder(t)
  await writeBundle(folder, REGION, roots)
  return folder
}

async function refused(t: Test, folder: string, message: RegExp, code = 'CONFIG_INVALID'): Promise<void> {
  await t.rejects(readBundle(folder, REGION), { name: 'ProxyError', code, message })
}

const permissions = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)
const namesOf = (list: readonly RdsRoot[]) => list.map(({ name }) => name)

test('the default folder', async t => {
  t.equal(defaultCacheFolder({ XDG_CACHE_HOME: '/x', HOME: '/home/a' }), '/x/mysql-iam-proxy')
  t.equal(defaultCacheFolder({ HOME: '/home/a' }), '/home/a/.cache/mysql-iam-proxy')
  t.equal(defaultCacheFolder({ XDG_CACHE_HOME: 'relative', HOME: '/home/a' }), '/home/a/.cache/mysql-iam-proxy')
  t.match(defaultCacheFolder({}), /^\/.*\/\.cache\/mysql-iam-proxy$/, 'the home directory of the user')
  t.equal(defaultCacheFolder({ HOME: 'relative' }), undefined)
})

test('what is written is read, with permissions that do not depend on the umask', async t => {
  const previous = process.umask(0o077)
  t.teardown(() => process.umask(previous))
  const folder = newFolder(t)
  t.same(await readBundle(folder, REGION), NO_BUNDLE, 'no folder')
  t.equal(await versionOfBundle(folder, REGION), '')
  await writeBundle(folder, REGION, roots)
  t.equal(await permissions(bundleFile(folder, REGION)), '644')
  t.equal(await readFile(bundleFile(folder, REGION), 'utf8'), root)
  const { roots: found, version } = await readBundle(folder, REGION)
  t.same(namesOf(found), namesOf(roots))
  t.equal(await versionOfBundle(folder, REGION), version)
  t.same(await readBundle(folder, 'eu-west-1'), NO_BUNDLE, 'another region')
  t.same(await readdir(folder), [`${REGION}-bundle.pem`], 'no draft is left')
  await removeBundle(folder, REGION)
  await removeBundle(folder, REGION)
  t.same(await readBundle(folder, REGION), NO_BUNDLE)
})

test('a umask of 0 leaves nothing that others can write to', async t => {
  const previous = process.umask(0)
  t.teardown(() => process.umask(previous))
  const folder = await folderWithBundle(t)
  t.equal(await permissions(folder), '755')
  t.equal(await permissions(bundleFile(folder, REGION)), '644')
})

const OPEN_FILES = '/proc/self/fd'

test('no file stays open', {
  skip: existsSync(OPEN_FILES) ? false : 'the system does not list open files',
}, async t => {
  const folder = await folderWithBundle(t)
  await readBundle(folder, REGION)
  await writeFile(bundleFile(folder, REGION), '')
  await refused(t, folder, /holds no certificate$/, 'TRUST_UPDATE_FAILED')
  const open = await Promise.all(
    (await readdir(OPEN_FILES)).map(name => readlink(join(OPEN_FILES, name)).catch(() => '')),
  )
  t.same(
    open.filter(file => file.startsWith(folder)),
    [],
  )
})

test('a file is replaced at once: it is another file', async t => {
  const folder = await folderWithBundle(t)
  const before = await stat(bundleFile(folder, REGION))
  const { version } = await readBundle(folder, REGION)
  await writeBundle(folder, REGION, parseBundle(createRdsAuthority(REGION).root, 'test').roots)
  t.not((await stat(bundleFile(folder, REGION))).ino, before.ino)
  t.not(await versionOfBundle(folder, REGION), version)
})

test('a symbolic link is not followed, and replaced by a write', async t => {
  const folder = newFolder(t)
  await mkdir(folder, { recursive: true })
  const target = join(folder, 'elsewhere')
  await writeFile(target, root)
  await symlink(target, bundleFile(folder, REGION))
  await refused(t, folder, /il-central-1-bundle\.pem is a symbolic link$/)
  await writeBundle(folder, REGION, parseBundle(createRdsAuthority(REGION).root, 'test').roots)
  t.equal(await readFile(target, 'utf8'), root, 'the target stays')
  t.equal((await readBundle(folder, REGION)).roots.length, 1)
})

test('a folder or file that others can write to is refused', async t => {
  const folder = await folderWithBundle(t)
  for (const mode of [0o777, 0o775, 0o1777]) {
    await chmod(folder, mode)
    await refused(t, folder, /^bundle cache: .*mysql-iam-proxy can be changed by other users; run chmod go-w on it$/)
    await t.rejects(writeBundle(folder, REGION, roots), { code: 'CONFIG_INVALID', message: /other users/ })
  }
  await chmod(folder, 0o755)
  await chmod(bundleFile(folder, REGION), 0o664)
  await refused(t, folder, /bundle\.pem can be changed by other users/)
  t.same(await readdir(folder), [`${REGION}-bundle.pem`], 'no draft is left')
})

test('a folder or file of another user is refused', async t => {
  const folder = await folderWithBundle(t)
  // Only root can give files away. For others, the process becomes another user instead.
  const giveAway = async (path: string) => {
    if (isRoot) await chown(path, 65_534, 65_534)
    else t.intercept(process, 'geteuid', { value: () => 65_534 })
  }
  await giveAway(bundleFile(folder, REGION))
  await refused(t, folder, /belongs to another user$/)
  await giveAway(folder)
  await refused(t, folder, /mysql-iam-proxy belongs to another user$/)
  await t.rejects(writeBundle(folder, REGION, roots), { code: 'CONFIG_INVALID', message: /belongs to another user$/ })
})

test('the files of root are good for every user', async t => {
  const folder = await folderWithBundle(t)
  if (!isRoot) await t.resolves(readBundle(folder, REGION))
  t.intercept(process, 'geteuid', { value: () => (isRoot ? 1000 : process.getuid!()) })
  t.equal((await readBundle(folder, REGION)).roots.length, 1)
})

test('without user ids, as on Windows, permissions are not checked', async t => {
  const folder = await folderWithBundle(t)
  await chmod(bundleFile(folder, REGION), 0o666)
  t.intercept(process, 'geteuid', { value: undefined })
  t.equal((await readBundle(folder, REGION)).roots.length, 1)
})

test('what is no file of CA certificates of the region is refused', async t => {
  const folder = await folderWithBundle(t)
  const file = bundleFile(folder, REGION)
  await writeFile(file, createRdsAuthority('eu-west-1').root)
  await refused(t, folder, /bundle\.pem holds a CA of another region/, 'TRUST_UPDATE_FAILED')
  await writeFile(file, root.padEnd(1_048_576, '\n'))
  t.equal((await readBundle(folder, REGION)).roots.length, 1, 'one MiB')
  await writeFile(file, root.padEnd(1_048_577, '\n'))
  await refused(t, folder, /is not a file of CA certificates$/)
  await removeBundle(folder, REGION)
  await mkdir(file)
  await refused(t, folder, /is not a file of CA certificates$/)
  await t.rejects(removeBundle(folder, REGION), { code: 'CONFIG_INVALID', message: /cannot be removed/ })
  await t.rejects(writeBundle(folder, REGION, roots), {
    code: 'CONFIG_INVALID',
    message: /cannot be written to \(EISDIR\)/,
  })
  t.same(await readdir(folder), [`${REGION}-bundle.pem`], 'no draft is left')
})

test('a FIFO does not block', async t => {
  const folder = newFolder(t)
  await mkdir(folder, { recursive: true })
  await promisify(execFile)('mkfifo', ['-m', '600', bundleFile(folder, REGION)])
  await refused(t, folder, /is not a file of CA certificates$/)
})

test('a folder that is a file, or below one', async t => {
  const folder = join(t.testdir({ file: '' }), 'file')
  await t.rejects(writeBundle(folder, REGION, roots), {
    code: 'CONFIG_INVALID',
    message: /cannot be written to \(EEXIST\)/,
  })
  await refused(t, folder, /cannot be read \(ENOTDIR\)$/)
})
