/**
 * A real MySQL server for the tests, with a plugin that verifies IAM tokens as RDS does. Debian's stable release has none:
 * the packages come from Debian's sid and are unpacked into a separate directory, with the libraries that they need.
 * The server runs there with its own dynamic loader. So nothing is installed, nothing is mounted, and root is not needed.
 */
import { existsSync } from 'node:fs'
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  attach,
  compilePlugin,
  hash,
  isRoot,
  makeOnce,
  ownDirectory,
  pluginSources,
  type RealServer,
  run,
  type ServerDescription,
  type StartOptions,
  startServer,
} from './database-server.ts'
import { ensurePackages, findProgram } from './packages.ts'

/** Set by test/support/run.ts: the server's description, or why there is none. */
export const mysqlVariable = 'TEST_MYSQL_OF_MYSQL_IAM_PROXY'

/** It is large, and outlives a restart of the machine there. */
const CACHE_PARENT = '/var/tmp'

const pluginSource = 'mysql-plugin/auth_rds_iam.c'

/** How a process hands its server on to the processes that it starts. */
export type SharedMysql = ServerDescription | { unavailable: string }

/** Why MySQL is unavailable; undefined where it is available, or not yet tried. */
export function mysqlUnavailable(): string | undefined {
  const shared = process.env[mysqlVariable]
  const parsed = shared ? (JSON.parse(shared) as SharedMysql) : undefined
  return parsed && 'unavailable' in parsed ? parsed.unavailable : undefined
}

/** The server that test/support/run.ts has started, or else one of the test's own. */
export async function mysqlServer(t: { teardown(stop: () => Promise<void>): unknown }): Promise<RealServer> {
  const shared = process.env[mysqlVariable]
  if (shared) return attach(JSON.parse(shared) as ServerDescription, async () => {})
  const server = await startMysql()
  t.teardown(() => server.stop())
  return server
}

/** A server in its own directory, which is removed with it. It stops when this process ends for any reason. */
export async function startMysql(options: StartOptions = {}): Promise<RealServer> {
  await ensurePackages('a C compiler', hasCompiler, ['gcc', 'libc6-dev'])
  await ensureUser()
  const installed = await install()
  const prepared = await prepare(installed)
  return await startServer(
    { program: 'mysqld', command: commandOf(installed), prepared, accounts, config: configOf(installed) },
    options,
  )
}

// root, who has no password, may come only over the unix socket
const accounts = `CREATE DATABASE IF NOT EXISTS lab;
CREATE USER IF NOT EXISTS iam_user IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS iam2 IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS app IDENTIFIED BY 'app-pw';
GRANT ALL ON *.* TO iam_user, iam2, app;
`

const redoLog = 'innodb_redo_log_capacity=8M'

function configOf({ share }: Installed): string {
  return `plugin-load-add=AWSAuthenticationPlugin=auth_rds_iam.so
mysqlx=OFF
lc-messages-dir=${share}
character-sets-dir=${share}/charsets
innodb_doublewrite=OFF
${redoLog}`
}

function hasCompiler(): boolean {
  return findProgram('cc') !== undefined && existsSync('/usr/include/stdio.h')
}

/** The server does not run as root. MariaDB's package makes the same user. */
async function ensureUser(): Promise<void> {
  if (!isRoot || (await run('id', ['mysql']).catch(() => undefined))) return
  await run('useradd', [
    '--system',
    '--no-create-home',
    '--home-dir=/nonexistent',
    '--shell=/usr/sbin/nologin',
    'mysql',
  ])
}

// ---- the packages ----

/** An unpacked server. */
interface Installed {
  root: string
  /** messages and character sets */
  share: string
}

/** Unpacks the server's packages and their libraries. Once they are there, no network is needed. */
async function install(): Promise<Installed> {
  const cache = await ownDirectory(CACHE_PARENT)
  const root = await makeOnce(join(cache, 'mysql-sid'), async directory => {
    const apt = await writeAptSettings(join(directory, 'apt'))
    try {
      await run('sh', ['-ec', download, 'sh', ...apt], { cwd: directory })
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string }
      throw new Error(`MySQL could not be downloaded from Debian's sid: ${stderr || message}`)
    }
    await rm(join(directory, 'apt'), { recursive: true })
  })
  return { root, share: join(root, 'usr/share/mysql') }
}

// Perl is only for scripts beside the server.
const download = `
apt-get "$@" update -qq
mkdir debs
packages=$(apt-get "$@" install --print-uris -qq -y --no-install-recommends mysql-server-core |
  sed -nE "s/^'[^']*' ([^_ ]+)_.*/\\1/p" | grep -v perl)
(cd debs && apt-get "$@" download -qq $packages)
for package in debs/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar x --no-same-owner --exclude=./etc --exclude=./usr/bin --exclude=./usr/share/doc \
    --exclude=./usr/share/man --exclude=./usr/share/locale --exclude='./usr/lib/*/gconv'
done
rm -r debs
test -x usr/sbin/mysqld`

/** Settings with which apt knows nothing but sid, from this machine's mirror, and changes nothing outside `directory`. */
export async function writeAptSettings(directory: string, suite = 'sid'): Promise<string[]> {
  await mkdir(join(directory, 'lists/partial'), { recursive: true })
  await mkdir(join(directory, 'archives/partial'), { recursive: true })
  await writeFile(join(directory, 'status'), '')
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  await writeFile(join(directory, 'sources.list'), `deb [signed-by=${keyring}] ${await debianMirror()} ${suite} main\n`)
  const settings = {
    'Dir::Etc::sourcelist': join(directory, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State': directory,
    'Dir::State::lists': join(directory, 'lists'),
    'Dir::State::status': join(directory, 'status'),
    'Dir::Cache': directory,
    'Acquire::Languages': 'none',
    // A mirror's copy of sid may be old.
    'Acquire::Check-Valid-Until': 'false',
    // Else apt downloads as a user that may not write here.
    'APT::Sandbox::User': 'root',
  }
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
}

/** Where this machine itself gets Debian from. */
async function debianMirror(): Promise<string> {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'])
  const mirror = stdout.split('\n').find(uri => /^https?:.*\/debian\/?$/.test(uri))
  return mirror ?? 'http://deb.debian.org/debian'
}

// ---- what starts have in common, made once: the compiled plugin and an initialised data directory ----

async function prepare(installed: Installed): Promise<string> {
  const [loader, ...command] = commandOf(installed)
  const { stdout: version } = await run(loader!, [...command, '--no-defaults', '--version'])
  const cache = await ownDirectory(CACHE_PARENT)
  const key = hash(version, redoLog, ...(await pluginSources(pluginSource)))
  return await makeOnce(join(cache, key), async directory => {
    const init = ['--no-defaults', '--initialize-insecure', `--datadir=${join(directory, 'data')}`]
    init.push(`--lc-messages-dir=${installed.share}`, `--character-sets-dir=${installed.share}/charsets`)
    init.push('--secure-file-priv=', '--innodb-flush-method=nosync', '--innodb-doublewrite=OFF', `--${redoLog}`)
    if (isRoot) {
      init.push('--user=mysql')
      await run('chown', ['mysql:', directory])
    }
    // A component that the server loads by itself.
    const component = 'component_reference_cache.so'
    await Promise.all([
      compilePlugin(pluginSource, join(directory, 'auth_rds_iam.so')),
      symlink(join(installed.root, 'usr/lib/mysql/plugin', component), join(directory, component)),
      run(loader!, [...command, ...init]),
    ])
  })
}

/** The loader runs the server with the libraries beside it, whatever this machine has. */
function commandOf({ root }: Installed): string[] {
  const libraries = join(root, 'usr/lib', `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`)
  const loader = process.arch === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2'
  return [join(libraries, loader), '--library-path', libraries, join(root, 'usr/sbin/mysqld')]
}
