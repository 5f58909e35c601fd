/**
 * Installs, upgrades and removes the .deb and the .rpm with the executable of dist/release (npm run package): the .deb in a
 * small Debian system that mmdebstrap makes, the .rpm there and in an empty folder. Needs root, and Debian's packages.
 * The packages are those of a release but for their compression, which takes minutes there.
 *
 * npm run test:package
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type Test, test } from 'tap'
import { makeDeb } from '../../bin/package/deb.ts'
import { PATHS } from '../../bin/package/linux-tree.ts'
import { ROOT } from '../../bin/package/project.ts'
import { makeRpm } from '../../bin/package/rpm.ts'
import { ensureProgram, env } from '../support/packages.ts'

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
const release = join(ROOT, 'dist/release')
const executable = join(release, `mysql-iam-proxy-${version}-linux-x64`)
const built = join(ROOT, 'node_modules/.cache/package/built')
const deb = join(built, `mysql-iam-proxy_${version}_amd64.deb`)
const rpm = join(built, `mysql-iam-proxy-${version}-1.x86_64.rpm`)
const compression = 'gzip'
const nodeLicense = 'NODE LICENSE'
const CONFIG = '/etc/mysql-iam-proxy/config.yaml'

interface Outcome {
  status: number | null
  /** standard output and standard error */
  output: string
}

function run(command: string, ...args: string[]): Outcome {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...env, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 64 << 20,
  })
  if (error) throw error
  return { status, output: stdout + stderr }
}

/** Standard output and standard error of a command that succeeds. */
function ok(command: string, ...args: string[]): string {
  const { status, output } = run(command, ...args)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${output}`)
  return output
}

/** A Debian system in a folder, with commands that run inside. */
async function debianSystem(t: Test) {
  const cached = join(ROOT, 'node_modules/.cache/package/bookworm')
  if (!existsSync(cached)) {
    const fresh = `${cached}.${process.pid}`
    mkdirSync(join(cached, '..'), { recursive: true })
    const mmdebstrap = await ensureProgram('mmdebstrap', 'mmdebstrap')
    const options = ['--variant=minbase', '--mode=root', '--include=adduser,libstdc++6']
    ok(mmdebstrap, ...options, 'bookworm', fresh)
    ok('mv', '-T', fresh, cached)
  }
  const root = join(t.testdir(), 'root')
  ok('cp', '-a', cached, root)
  return {
    root,
    run: (...command: string[]) => run('chroot', root, ...command),
    ok: (...command: string[]) => ok('chroot', root, ...command),
    /** Every path with its owner and mode, except of what package managers write for themselves. */
    paths: () =>
      ok('chroot', root, 'find', '/', '-xdev', '-printf', '%p %u %g %m\\n')
        .split('\n')
        .filter(
          path =>
            !/^\/(var\/(lib\/(dpkg|rpm|systemd)|log|cache)|etc\/(passwd|group|g?shadow|\.pwd\.lock)|run|dev)/.test(
              path,
            ),
        )
        .sort(),
  }
}

type System = Awaited<ReturnType<typeof debianSystem>>

const hasUser = ({ run }: System) => run('getent', 'passwd', 'mysql-iam-proxy').status === 0

test('the packages are made from the executable of dist/release', async t => {
  t.ok(existsSync(executable), `${executable} (npm run package)`)
  t.equal(process.getuid?.(), 0, 'chroot needs root')
  rmSync(built, { recursive: true, force: true })
  mkdirSync(built, { recursive: true })
  await ensureProgram('rpmbuild', 'rpm')
  const context = { version, temporary: built }
  await makeDeb(context, { architecture: 'amd64', executable, nodeLicense, file: deb, compression })
  t.equal(
    await makeRpm(context, { architecture: 'x86_64', executable, nodeLicense, folder: built, compression }),
    basename(rpm),
  )
})

test('the .deb: installed, upgraded, removed, purged', async t => {
  const system = await debianSystem(t)
  const { root } = system
  const before = system.paths()
  cpSync(deb, join(root, 'tmp/first.deb'))
  system.ok('dpkg', '--install', '/tmp/first.deb')

  t.equal(system.ok('mysql-iam-proxy', '--version').trim(), version)
  t.ok(hasUser(system))
  const file = statSync(join(root, CONFIG))
  t.equal(file.mode & 0o777, 0o640)
  t.equal(String(file.gid), system.ok('getent', 'group', 'mysql-iam-proxy').split(':')[2])
  const check = ['mysql-iam-proxy', 'config', 'check', '--syntax-only', '--config', CONFIG]
  const asService = system.run('runuser', '-u', 'mysql-iam-proxy', '--', ...check)
  t.match(asService.output, /the file is empty; begin with endpoints/, 'the user of the service reads it')
  t.equal(asService.status, 2, 'the exit code after which systemd does not restart the service')
  t.match(system.run('runuser', '-u', 'nobody', '--', ...check).output, /EACCES|permission denied/i, 'nobody else does')
  // With the executable where this machine has it. The small Debian system has no systemd.
  const unit = join(root, '../mysql-iam-proxy.service')
  writeFileSync(unit, readFileSync(join(root, PATHS.unit), 'utf8').replaceAll(`/${PATHS.program} `, `${executable} `))
  const systemdAnalyze = await ensureProgram('systemd-analyze', 'systemd')
  t.equal(ok(systemdAnalyze, 'verify', '--man=no', unit), '')

  writeFileSync(
    join(root, CONFIG),
    'endpoints:\n  - rds-endpoint: database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com\n',
  )
  const next = join(root, 'tmp/next.deb')
  const temporary = join(root, '..')
  await makeDeb(
    { version: `${version}9`, temporary },
    { architecture: 'amd64', executable, nodeLicense, file: next, compression },
  )
  system.ok('dpkg', '--install', '/tmp/next.deb')
  t.match(system.ok('dpkg-query', '--show', 'mysql-iam-proxy'), `${version}9`)
  t.match(readFileSync(join(root, CONFIG), 'utf8'), 'database-1', 'the configuration stays')
  t.match(system.ok(...check), /1 endpoint/)

  system.ok('dpkg', '--remove', 'mysql-iam-proxy')
  t.notOk(existsSync(join(root, PATHS.program)))
  t.ok(existsSync(join(root, CONFIG)), 'the configuration stays after a removal')
  system.ok('dpkg', '--install', '/tmp/first.deb')
  t.match(readFileSync(join(root, CONFIG), 'utf8'), 'database-1')

  const purge = system.ok('dpkg', '--purge', 'mysql-iam-proxy')
  t.notMatch(purge, /warning/)
  rmSync(join(root, 'tmp/first.deb'))
  rmSync(next)
  t.same(system.paths(), before, 'nothing is left')
  t.notOk(hasUser(system))
})

test('the .deb: a purge keeps files of the administrator, and the user who reads them', async t => {
  const system = await debianSystem(t)
  cpSync(deb, join(system.root, 'tmp/first.deb'))
  system.ok('dpkg', '--install', '/tmp/first.deb')
  const password = join(system.root, 'etc/mysql-iam-proxy/connector-password')
  writeFileSync(password, 'secret\n', { mode: 0o640 })
  system.ok('dpkg', '--purge', 'mysql-iam-proxy')
  t.ok(existsSync(password))
  t.ok(hasUser(system))
})

test('lintian finds nothing but what lintian-overrides argues', async t => {
  const lintian = await ensureProgram('lintian', 'lintian')
  const { output } = run(lintian, '--allow-root', '--tag-display-limit', '0', '--display-level', '>=pedantic', deb)
  t.same(
    output.split('\n').filter(line => line !== '' && !line.startsWith('N:')),
    [],
  )
})

test('the executable needs no newer libraries than the .deb says', async t => {
  const readelf = await ensureProgram('readelf', 'binutils')
  for (const target of ['linux-x64', 'linux-arm64']) {
    const versions = ok(readelf, '--version-info', '--wide', join(release, `mysql-iam-proxy-${version}-${target}`))
    const newest = (library: string) =>
      [...versions.matchAll(new RegExp(`\\b${library}_([\\d.]+)`, 'g'))]
        .map(([, number]) => number!)
        .sort((left, right) => left.localeCompare(right, 'en', { numeric: true }))
        .at(-1)
    t.equal(newest('GLIBC'), '2.28', `${target}: libc6`)
    t.equal(newest('GLIBCXX'), '3.4.21', `${target}: libstdc++6 of GCC 5`)
  }
})

test('ruby reads the formula for Homebrew', async t => {
  const ruby = await ensureProgram('ruby', 'ruby')
  t.equal(ok(ruby, '-c', join(release, 'mysql-iam-proxy.rb')).trim(), 'Syntax OK')
})

test('the manual page has no mistake for mandoc', async t => {
  const mandoc = await ensureProgram('mandoc', 'mandoc')
  const { output } = run(mandoc, '-T', 'lint', '-W', 'warning', join(ROOT, 'docs/mysql-iam-proxy.1'))
  t.match(output.trim(), /^[^\n]*missing date[^\n]*$/, 'a page that is generated has no date')
})

test('the .rpm: installed and removed in an empty folder, without scripts', async t => {
  const program = await ensureProgram('rpm', 'rpm')
  const root = t.testdir({})
  ok(program, '--root', root, '--nodeps', '--noscripts', '--install', rpm)
  t.match(ok(program, '--root', root, '--query', 'mysql-iam-proxy'), `mysql-iam-proxy-${version}-1`)
  t.equal(statSync(join(root, PATHS.program)).mode & 0o777, 0o755)
  t.ok(existsSync(join(root, PATHS.unit)))
  ok(program, '--root', root, '--nodeps', '--noscripts', '--erase', 'mysql-iam-proxy')
  const left = readdirSync(root, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  t.same(
    left.filter(({ name }) => name.includes('mysql-iam-proxy') || name === 'config.yaml'),
    [],
  )
})

test('the .rpm: its scripts make the user, and keep a changed configuration', async t => {
  const program = await ensureProgram('rpm', 'rpm')
  const system = await debianSystem(t)
  const { root } = system
  ok(program, '--root', root, '--nodeps', '--install', rpm)
  t.equal(system.ok('mysql-iam-proxy', '--version').trim(), version)
  t.ok(hasUser(system))
  t.match(system.ok('stat', '--format', '%U:%G %a', CONFIG), 'root:mysql-iam-proxy 640')
  writeFileSync(join(root, CONFIG), '# changed\n')
  ok(program, '--root', root, '--nodeps', '--erase', 'mysql-iam-proxy')
  t.equal(readFileSync(join(root, `${CONFIG}.rpmsave`), 'utf8'), '# changed\n')
  t.notOk(existsSync(join(root, PATHS.program)))
})
