/** The .deb, made from a small stand-in for the executable. test/package/deb-install.ts installs the real one. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { bundledPackages } from '../../bin/package/bundle.ts'
import { debianVersion, makeDeb } from '../../bin/package/deb.ts'
import { serviceUnit } from '../../bin/package/linux-tree.ts'
import { thirdPartyNotices } from '../../bin/package/notices.ts'
import { homepage, maintainer, ROOT, sourceDate } from '../../bin/package/project.ts'
import { rpmVersion } from '../../bin/package/rpm.ts'
import { runTool } from '../../bin/package/tool.ts'
import { configCommand } from '../../src/commands/config.ts'

const VERSION = '1.2.3-rc.1'

function dpkg(...args: string[]): string {
  const { stdout, stderr, status } = spawnSync('dpkg-deb', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return stdout
}

test('the package has its files, modes and scripts, and two builds are equal', async t => {
  const temporary = t.testdir({ program: '#!/bin/sh\necho 1.2.3\n' })
  const build = async (name: string) => {
    const file = join(temporary, name)
    const executable = join(temporary, 'program')
    await makeDeb(
      { version: VERSION, temporary },
      { architecture: 'arm64', executable, nodeLicense: 'NODE LICENSE', file, compression: 'gzip' },
    )
    return file
  }
  const file = await build('first.deb')
  t.ok(readFileSync(file).equals(readFileSync(await build('second.deb'))), 'two builds are equal')

  const lines = dpkg('--contents', file).trim().split('\n')
  const files = new Map(lines.map(line => [line.slice(line.indexOf('./') + 2), line.split(/\s+/)]))
  const shape = (path: string) => files.get(path)?.slice(0, 2).join(' ')
  t.equal(shape('usr/bin/mysql-iam-proxy'), '-rwxr-xr-x root/root')
  t.equal(shape('etc/mysql-iam-proxy/'), 'drwxr-x--- root/root', 'the configuration may contain hashes of passwords')
  t.equal(shape('etc/mysql-iam-proxy/config.yaml'), '-rw-r----- root/root')
  for (const path of [
    'usr/lib/systemd/system/mysql-iam-proxy.service',
    'usr/share/man/man1/mysql-iam-proxy.1.gz',
    'usr/share/bash-completion/completions/mysql-iam-proxy',
    'usr/share/zsh/vendor-completions/_mysql-iam-proxy',
    'usr/share/fish/vendor_completions.d/mysql-iam-proxy.fish',
    'usr/share/doc/mysql-iam-proxy/copyright',
    'usr/share/doc/mysql-iam-proxy/changelog.gz',
    'usr/share/doc/mysql-iam-proxy/THIRD-PARTY-NOTICES.gz',
  ]) {
    t.equal(shape(path), '-rw-r--r-- root/root', path)
  }

  t.equal(dpkg('--field', file, 'Version').trim(), '1.2.3~rc.1')
  t.equal(dpkg('--field', file, 'Architecture').trim(), 'arm64')
  t.equal(dpkg('--info', file, 'conffiles'), '/etc/mysql-iam-proxy/config.yaml\n')
  t.match(dpkg('--info', file, 'md5sums'), /^[0-9a-f]{32} {2}usr\/bin\/mysql-iam-proxy$/m)
  for (const script of ['postinst', 'prerm', 'postrm']) {
    t.equal(spawnSync('sh', ['-n'], { input: dpkg('--info', file, script) }).status, 0, script)
  }
})

test('the scripts of the .rpm have no mistake in their syntax', async t => {
  for (const script of ['rpm-pre', 'rpm-post', 'rpm-preun', 'rpm-postun']) {
    t.equal(spawnSync('sh', ['-n', join(ROOT, 'bin/package/linux', script)]).status, 0, script)
  }
})

test('the unit runs as the user of the package, and needs no socket and no password file', async t => {
  const example = readFileSync(join(ROOT, 'examples/systemd/mysql-iam-proxy.service'), 'utf8')
  const unit = serviceUnit(example)
  t.match(unit, /^User=mysql-iam-proxy$/m)
  t.match(unit, /^ExecStart=\/usr\/bin\/mysql-iam-proxy --config \/etc\/mysql-iam-proxy\/config.yaml$/m)
  t.match(unit, /^ExecReload=\/usr\/bin\/mysql-iam-proxy upgrade /m, 'a reload hands over to a new process')
  t.notMatch(unit, /DynamicUser|LoadCredential|\.socket/)
  const hardening = (text: string) => text.match(/^(Protect|Private|Restrict|System|NoNew|Capability).*$/gm)
  t.same(hardening(unit), hardening(example))
  t.throws(() => serviceUnit(example.replace('DynamicUser=yes', 'User=proxy')), /has no line .*DynamicUser/)
})

test('the configuration of the package is valid once its lines have no #', async t => {
  const text = readFileSync(join(ROOT, 'bin/package/linux/config.yaml'), 'utf8')
  const file = (content: string) => join(t.testdir({ 'config.yaml': content }), 'config.yaml')
  const check = (config: string) => configCommand('check', { config, 'syntax-only': true }, {})
  // Prose has one space behind the #.
  const uncommented = text.slice(text.indexOf('#endpoints:')).replace(/^#(?! \S|$)/gm, '')
  t.match(await check(file(uncommented)), /1 endpoint/)
  await t.rejects(check(file(text)), /empty/, 'as it is, the service stops with exit code 2')
})

test('versions before a release sort before it', async t => {
  t.equal(debianVersion('1.0.0'), '1.0.0')
  t.equal(debianVersion('1.0.0-rc.1'), '1.0.0~rc.1')
  t.equal(rpmVersion('1.0.0-rc.1'), '1.0.0~rc.1')
})

test('a workflow says where the project is and when the sources changed', async t => {
  t.equal(homepage({ GITHUB_REPOSITORY: 'me/fork' }), 'https://github.com/me/fork')
  t.equal(homepage({}), 'https://github.com/example/mysql-iam-proxy')
  t.match(maintainer({ GITHUB_REPOSITORY_OWNER: 'me' }), /<me@users\.noreply\.github\.com>$/)
  t.equal(sourceDate({ SOURCE_DATE_EPOCH: '1700000000' }).toISOString(), '2023-11-14T22:13:20.000Z')
  t.ok(sourceDate({}).getTime() > 0)
})

test('the notices name each package of the executables, and none of development', async t => {
  const notices = await thirdPartyNotices(await bundledPackages(), 'NODE LICENSE')
  for (const name of ['@aws-sdk/rds-signer', 'mysql2', 'pino', 'yargs'])
    t.match(notices, new RegExp(`^${name} \\d`, 'm'), name)
  for (const name of ['typescript', 'tap', 'esbuild']) t.notMatch(notices, new RegExp(`^${name} \\d`, 'm'), name)
  t.match(notices, /\nNode\.js\n\nNODE LICENSE/)
})

test('a missing tool is reported with the package that brings it', async t => {
  await t.rejects(runTool(['no-such-tool-of-a-release'], 'some-package'), {
    message: 'no-such-tool-of-a-release is missing (Debian: apt-get install some-package)',
  })
  await t.rejects(runTool(['sh', '-c', 'echo what happened >&2; exit 3'], 'dash'), /what happened/)
})
