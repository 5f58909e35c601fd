/** A real database server for the tests: Debian's MariaDB, with a plugin that verifies IAM tokens as RDS does. */
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  attach,
  compilePlugin,
  exists,
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
import { ensurePackages, findProgram, updateLists } from './packages.ts'

export type { Credentials, Decision, RealServer, ServerDescription, StartOptions } from './database-server.ts'

export const serverVariable = 'TEST_SERVER_OF_MYSQL_IAM_PROXY'

const packages = ['mariadb-server', 'mariadb-client', 'gcc', 'libc6-dev']
const pluginSource = 'mariadb-plugin/auth_rds_iam.c'

/** The server that test/support/run.ts has started, or else one of the test's own. */
export async function realServer(t: { teardown(stop: () => Promise<void>): unknown }): Promise<RealServer> {
  const shared = process.env[serverVariable]
  if (shared) return attach(JSON.parse(shared) as ServerDescription, async () => {})
  const server = await startMariadb()
  t.teardown(() => server.stop())
  return server
}

/** A server in its own directory, which is removed with it. It stops when this process ends for any reason. */
export async function startMariadb(options: StartOptions = {}): Promise<RealServer> {
  await ensurePackages('a MariaDB server and a C compiler', hasPrograms, packages)
  const prepared = await prepare()
  return await startServer(
    { program: 'mariadbd', command: [findProgram('mariadbd')!], prepared, accounts, config },
    options,
  )
}

// root, who has no password, may come only over the unix socket
const accounts = `SET sql_log_bin = 0;
DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';
FLUSH PRIVILEGES;
CREATE DATABASE IF NOT EXISTS lab;
CREATE USER IF NOT EXISTS iam_user IDENTIFIED VIA AWSAuthenticationPlugin USING 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS iam2 IDENTIFIED VIA AWSAuthenticationPlugin USING 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS app IDENTIFIED BY 'app-pw';
GRANT ALL ON *.* TO iam_user, iam2, app;
`

const logSize = 'innodb_log_file_size=32M'

const config = `plugin-maturity=unknown
plugin-load-add=auth_rds_iam.so
aria-checkpoint-interval=0
${logSize}`

/** The compiled plugin and an initialised data directory, made once. */
async function prepare(): Promise<string> {
  const { stdout: version } = await run(findProgram('mariadbd')!, ['--no-defaults', '--version'])
  const key = hash(version, logSize, ...(await pluginSources(pluginSource)))
  const root = await ownDirectory(tmpdir())
  return await makeOnce(join(root, key), async directory => {
    const headers = await findHeaders(join(root, `headers-${hash(version)}`))
    const data = join(directory, 'data')
    const init = ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal']
    init.push('--skip-test-db', '--skip-name-resolve', '--innodb-flush-method=nosync', `--${logSize}`)
    if (isRoot) init.push('--user=mysql')
    await Promise.all([
      compilePlugin(pluginSource, join(directory, 'auth_rds_iam.so'), ['-DMYSQL_DYNAMIC_PLUGIN', '-I', headers]),
      run(findProgram('mariadb-install-db')!, init),
    ])
  })
}

/**
 * The headers for plugins are in libmariadbd-dev, whose static library takes 600 MB when installed: unpack only the
 * headers. This needs no root.
 */
async function findHeaders(cache: string): Promise<string> {
  const installed = '/usr/include/mariadb/server'
  if (await exists(join(installed, 'mysql/plugin_auth.h'))) return installed
  const directory = await makeOnce(cache, async directory => {
    const script = `
version=$(dpkg-query -W -f '\${Version}' mariadb-server-core)
apt-get download "libmariadbd-dev=$version" || apt-get download libmariadbd-dev
dpkg-deb --fsys-tarfile libmariadbd-dev_*.deb | tar x ./usr/include
rm libmariadbd-dev_*.deb
test -e usr/include/mariadb/server/mysql/plugin_auth.h`
    try {
      await run('sh', ['-ec', isRoot ? `${updateLists}\n${script}` : script], { cwd: directory })
    } catch (error) {
      const advice = 'The headers for MariaDB plugins are missing. Please run as root: apt-get install libmariadbd-dev'
      throw new Error(`${advice}\n${(error as Error).message}`)
    }
  })
  return join(directory, 'usr/include/mariadb/server')
}

function hasPrograms(): boolean {
  const programs = ['mariadbd', 'mariadb-install-db', 'cc']
  return programs.every(name => findProgram(name) !== undefined) && existsSync('/usr/include/stdio.h')
}
