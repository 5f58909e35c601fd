/** The clients: how to install and start each, and the programs that use it. */
import { copyFile, cp, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Command } from './client-run.ts'
import { javaClients, javaTools } from './clients-java.ts'
import { debianRoot } from './debian-root.ts'
import { cached, clientsDirectory, debianPackages, nodeModules, pythonWith, run } from './install.ts'

export interface Client {
  name: string
  /** the programs that use this driver */
  usedBy: string
  /** @throws Error with the reason if it cannot run here */
  prepare(): Promise<Command>
}

export interface ClientSettings {
  /** a folder with the npm packages in its node_modules; by default one in the cache */
  modules?: string | undefined
  /** the command for MySQL's mysql program, if not mysql */
  mysqlClient?: string | undefined
}

const program = (name: string) => join(clientsDirectory, name)

/** The clients from npm and Debian, for CI. */
export function fewClients(settings: ClientSettings = {}): Client[] {
  return [
    nodeClient(settings, 'node-drivers.mjs', 'mysql2', 'Beekeeper Studio, Sqlectron, Drizzle'),
    nodeClient(settings, 'node-drivers.mjs', 'mysql', 'older applications for Node.js'),
    nodeClient(settings, 'node-drivers.mjs', 'mariadb', 'Prisma 7'),
    {
      name: 'mariadb, the program',
      usedBy: 'on libmariadb',
      async prepare() {
        await debianPackages('mariadb-client')
        return { command: [process.execPath, program('cli.mjs'), 'mariadb'] }
      },
    },
    {
      name: "mariadb's programs",
      usedBy: 'mariadb-dump, -import, -check, -show, -admin, -slap, -binlog',
      async prepare() {
        await debianPackages('mariadb-client')
        return { command: [process.execPath, program('programs.mjs'), 'mariadb'] }
      },
    },
  ]
}

/** Further drivers from Debian. CI checks what they show of the proxy's errors. */
export function debianClients(): Client[] {
  const python = (argument: string, name: string, ...packages: string[]): Client => ({
    name: `${name} of Debian`,
    usedBy: '',
    async prepare() {
      await debianPackages('python3', ...packages)
      return { command: ['/usr/bin/python3', program('python_drivers.py'), argument] }
    },
  })
  return [
    python('PyMySQL', 'PyMySQL', 'python3-pymysql'),
    python('mysqlclient', 'mysqlclient', 'python3-mysqldb'),
    python('pyodbc', 'MariaDB Connector/ODBC', 'python3-pyodbc', 'odbc-mariadb', 'unixodbc'),
    phpClient('mysqli', 'mysqli of PHP', ''),
    phpClient('pdo', 'PDO of PHP', ''),
    rubyClient,
    perlClient('mysql', 'libdbd-mysql-perl', ''),
    perlClient('MariaDB', 'libdbd-mariadb-perl', ''),
  ]
}

export function allClients(settings: ClientSettings = {}): Client[] {
  return [
    ...fewClients(settings),
    {
      name: 'mysql, the program',
      usedBy:
        'on libmysqlclient, as MySQL Workbench is; MariaDB 10.11 does not know its collation of utf8mb4 and takes latin1, unless you SET NAMES utf8mb4',
      async prepare() {
        return await mysqlPrograms('cli.mjs', settings)
      },
    },
    {
      name: "mysql's programs",
      usedBy: 'mysqldump, mysqlimport, mysqlcheck, mysqlshow, mysqladmin, mysqlslap, mysqlbinlog',
      async prepare() {
        return await mysqlPrograms('programs.mjs', settings)
      },
    },
    {
      name: 'mariadb 11.8, the program',
      usedBy: 'of Debian 13, on Connector/C 3.4; it requires TLS if a password is given',
      async prepare() {
        const { env } = await debianRoot('trixie', /^mariadb/, 'mariadb-client')
        return { command: [process.execPath, program('cli.mjs'), 'mariadb'], env }
      },
    },
    nodeClient(settings, 'node-tools.mjs', 'knex', 'on mysql2'),
    nodeClient(settings, 'node-tools.mjs', 'sequelize', 'on mysql2'),
    nodeClient(settings, 'node-tools.mjs', 'typeorm', 'on mysql2'),
    bunClient('latest', 'Bun.SQL'),
    bunClient(
      '1.3.5',
      'Bun.SQL 1.3.5',
      'on MySQL it also fails directly with passwords from 20 bytes and with 20 MB up',
    ),
    nodeClient(settings, 'zongji.mjs', '@vlasky/zongji', 'change data capture, on mysql2'),
    ...pythonClients,
    {
      name: 'MariaDB Connector/ODBC',
      usedBy: 'Tableau, Excel, Power BI; on libmariadb, here under pyodbc',
      async prepare() {
        await debianPackages('odbc-mariadb', 'unixodbc')
        return { command: [await pythonWith('odbc', 'pyodbc'), program('python_drivers.py'), 'pyodbc'] }
      },
    },
    ...javaClients,
    {
      name: 'go-sql-driver/mysql',
      usedBy: 'Grafana, Vitess, Terraform, gh-ost',
      async prepare() {
        const directory = await cached('go', async directory => {
          await copyFile(program('steps.go'), join(directory, 'main.go'))
          await run('go', ['mod', 'init', 'compat'], {}, directory)
          await run('go', ['get', 'github.com/go-sql-driver/mysql'], {}, directory)
          await run('go', ['build', '-o', 'compat', '.'], {}, directory)
        })
        return { command: [join(directory, 'compat')] }
      },
    },
    phpClient('mysqli', 'mysqli of PHP', 'phpMyAdmin, Adminer, WordPress; on mysqlnd'),
    phpClient('mysqli-persistent', 'mysqli of PHP, persistent', 'COM_CHANGE_USER on each reuse'),
    phpClient('pdo', 'PDO of PHP', 'Laravel, Symfony, Drupal; on mysqlnd'),
    phpClient('pdo-persistent', 'PDO of PHP, persistent', ''),
    rubyClient,
    {
      name: 'trilogy of Ruby',
      usedBy: 'Rails',
      async prepare() {
        await debianPackages('ruby-trilogy')
        throw new Error('it can be installed here, but no program for it is written yet')
      },
    },
    perlClient('mysql', 'libdbd-mysql-perl', 'Percona Toolkit; on libmariadb'),
    perlClient('MariaDB', 'libdbd-mariadb-perl', 'on libmariadb'),
    rustClient('mysql_async', ''),
    rustClient('sqlx', 'SeaORM 2'),
    sqlx08,
    prismaClient,
    {
      name: 'mycli',
      usedBy: 'on PyMySQL; fed through its standard input',
      async prepare() {
        const python = await pythonWith('mycli', 'mycli', 'cryptography')
        return { command: [process.execPath, program('mycli.mjs'), join(dirname(python), 'mycli')] }
      },
    },
    {
      name: 'Laravel',
      usedBy: 'illuminate/database of Debian; on PDO of PHP',
      async prepare() {
        await debianPackages('php-cli', 'php-mysql', 'php-illuminate-database')
        const version = await debianVersion('php-illuminate-database')
        return { command: ['php', program('steps.php'), 'laravel'], env: { COMPAT_VERSION: version } }
      },
    },
    {
      name: 'phpMyAdmin',
      usedBy: 'in a headless Chromium; on mysqli of PHP',
      async prepare() {
        // This skips its prompt to set up a database.
        await debianPackages('dbconfig-no-thanks')
        await debianPackages('php-cli', 'php-mysql', 'phpmyadmin', 'chromium-headless-shell')
        const directory = await cached('phpmyadmin', async directory => {
          await run('cp', ['-rL', '/usr/share/phpmyadmin/.', directory])
          // The Debian version reads /etc, which this test must not change.
          const file = join(directory, 'libraries/vendor_config.php')
          const text = (await readFile(file, 'utf8'))
            .replace("'/etc/phpmyadmin/config.inc.php'", "getenv('COMPAT_HOME') . '/config.inc.php'")
            .replace("'/var/lib/phpmyadmin/tmp/'", "getenv('COMPAT_HOME') . '/'")
          await writeFile(file, text)
        })
        return browserCommand('phpmyadmin', directory)
      },
    },
    {
      name: 'Adminer',
      usedBy: 'in a headless Chromium, with login() extended to let empty passwords pass; on mysqli of PHP',
      async prepare() {
        await debianPackages('php-cli', 'php-mysql', 'adminer', 'chromium-headless-shell')
        return browserCommand('adminer', '/usr/share/adminer')
      },
    },
    connectorxClient,
    duckdbClient,
    routerClient(settings),
    ...toolClients,
    ...javaTools,
  ]
}

/** Tools of one task. */
const toolClients: Client[] = [
  debianTool('mydumper', 'mydumper', 'mydumper', 'dumps, and loads with myloader; on libmariadb'),
  debianTool('pt-table-checksum', 'pt-table-checksum', 'percona-toolkit', 'of Percona Toolkit; on DBD::mysql of Perl'),
  debianTool('pt-archiver', 'pt-archiver', 'percona-toolkit', 'of Percona Toolkit; on DBD::mysql of Perl'),
  debianTool(
    'pt-online-schema-change',
    'pt-online-schema-change',
    'percona-toolkit',
    'of Percona Toolkit; on DBD::mysql of Perl',
  ),
  debianTool(
    'mysqld_exporter',
    'prometheus-mysqld-exporter',
    'prometheus-mysqld-exporter',
    'of Prometheus; on go-sql-driver/mysql',
  ),
  debianTool("HAProxy's mysql-check", 'haproxy', 'haproxy', 'a health check, without and with a user'),
  goTool('golang-migrate', 'migrate', 'github.com/golang-migrate/migrate/v4/cmd/migrate', 'v4.18.3', 'mysql'),
  goTool(
    'goose',
    'goose',
    'github.com/pressly/goose/v3/cmd/goose',
    'v3.24.3',
    'no_postgres,no_mssql,no_sqlite3,no_clickhouse,no_vertica,no_ydb,no_libsql',
  ),
]

function debianTool(name: string, tool: string, debianPackage: string, usedBy: string): Client {
  return {
    name,
    usedBy,
    async prepare() {
      await debianPackages(debianPackage)
      return {
        command: [process.execPath, program('tools.mjs'), tool],
        env: { COMPAT_VERSION: await debianVersion(debianPackage) },
      }
    },
  }
}

/** @param tags leave the drivers of other databases out */
function goTool(name: string, tool: string, path: string, version: string, tags: string): Client {
  return {
    name,
    usedBy: 'migrations; on go-sql-driver/mysql',
    async prepare() {
      const directory = await cached(`go-${tool}-${version}`, async directory => {
        await run('go', ['install', `-tags=${tags}`, `${path}@${version}`], { GOBIN: directory })
      })
      return {
        command: [process.execPath, program('tools.mjs'), tool],
        env: { COMPAT_VERSION: version.slice(1), COMPAT_TOOL: join(directory, tool) },
      }
    },
  }
}

/** It needs no driver. The npm package brings the program. */
function bunClient(version: string, name: string, usedBy = 'built into Bun; Drizzle'): Client {
  return {
    name,
    usedBy,
    async prepare() {
      const directory = await cached(`bun-${version}`, async directory => {
        await writeFile(join(directory, 'package.json'), '{ "private": true }')
        await run('npm', ['install', '--no-audit', '--no-fund', `bun@${version}`], {}, directory)
      })
      return { command: [join(directory, 'node_modules/.bin/bun'), program('bun.mjs')] }
    },
  }
}

const rubyClient: Client = {
  name: 'mysql2 of Ruby',
  usedBy: 'Rails; on libmariadb',
  async prepare() {
    await debianPackages('ruby', 'ruby-mysql2')
    return { command: ['ruby', program('steps.rb')] }
  },
}

const connectorxClient: Client = {
  name: 'connectorx (Polars)',
  usedBy: 'read_database_uri() of Polars; on the mysql crate of Rust, in a pool that retries a login for 30 s',
  async prepare() {
    const interpreter = await pythonWith('connectorx', 'connectorx==0.4.6', 'polars', 'pyarrow')
    return { command: [interpreter, program('connectorx_polars.py')] }
  },
}

const duckdbClient: Client = {
  name: "DuckDB's mysql extension",
  usedBy: 'ATTACH, mysql_query() and mysql_execute() in DuckDB for Python',
  async prepare() {
    const interpreter = await pythonWith('duckdb', `duckdb==${duckdb}`, `duckdb-extension-mysql-scanner==${duckdb}`)
    return { command: [interpreter, program('duckdb_mysql.py')] }
  },
}

/** An extension works only with DuckDB of the same version. */
const duckdb = '1.5.5'

function routerClient(settings: ClientSettings): Client {
  return {
    name: 'MySQL Router in front of the proxy',
    usedBy: 'with connection sharing, under mysql2 of npm; on MariaDB that also fails directly',
    async prepare() {
      const modules = settings.modules ?? (await nodeModules())
      const { root, env } = await debianRoot('sid', /^mysqlrouter$/, 'mysql-router')
      return {
        command: [process.execPath, program('router.mjs'), process.execPath, program('node-drivers.mjs'), 'mysql2'],
        env: { ...env, COMPAT_MODULES: modules, COMPAT_PLUGINS: join(root, 'usr/lib/mysqlrouter/plugin') },
      }
    },
  }
}

const prismaClient: Client = {
  name: 'Prisma',
  usedBy: 'raw queries, by its adapter for mariadb of npm',
  async prepare() {
    const modules = await cached('prisma', async directory => {
      await writeFile(join(directory, 'package.json'), '{ "private": true }')
      await writeFile(
        join(directory, 'schema.prisma'),
        `generator client {
  provider = "prisma-client-js"
}
datasource db {
  provider = "mysql"
}
model notes {
  id   Int     @id @default(autoincrement())
  word String?
}
`,
      )
      const packages = ['prisma@7', '@prisma/client@7', '@prisma/adapter-mariadb@7']
      // The engine that its scripts would download is for migrations. The client does not need it.
      await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...packages], {}, directory)
      const env = { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' }
      await run('npx', ['prisma', 'generate', '--schema', 'schema.prisma'], env, directory)
    })
    return { command: [process.execPath, program('prisma.mjs')], env: { COMPAT_MODULES: modules } }
  },
}

async function browserCommand(name: string, directory: string): Promise<Command> {
  const version = await debianVersion(name)
  return {
    command: [process.execPath, program('browser.mjs'), name],
    env: { COMPAT_DIRECTORY: directory, COMPAT_VERSION: version, COMPAT_CHROMIUM: 'chromium-headless-shell' },
  }
}

/** The version without Debian's suffix. */
async function debianVersion(name: string): Promise<string> {
  const [, text = ''] = (await run('dpkg-query', ['-W', name])).trim().split('\t')
  return text.replace(/^\d+:/, '').replace(/[+-].*/, '')
}

/** By default MySQL's own programs, from Debian's sid: Debian's stable release also names MariaDB's program mysql. */
async function mysqlPrograms(file: string, { mysqlClient }: ClientSettings): Promise<Command> {
  if (mysqlClient) return { command: [process.execPath, program(file), ...mysqlClient.split(' ')] }
  const { env } = await debianRoot('sid', /^mysql/, 'mysql-client-core')
  return { command: [process.execPath, program(file), 'mysql'], env }
}

function nodeClient(settings: ClientSettings, file: string, name: string, usedBy: string): Client {
  return {
    name: `${name} of npm`,
    usedBy,
    async prepare() {
      const modules = settings.modules ?? (await nodeModules())
      return { command: [process.execPath, program(file), name], env: { COMPAT_MODULES: modules } }
    },
  }
}

const pythonPackages = ['PyMySQL', 'cryptography', 'mysql-connector-python==9.7.0', 'asyncmy', 'aiomysql', 'SQLAlchemy']

const pythonClients: Client[] = [
  pythonClient('PyMySQL', 'PyMySQL', 'Superset, Airflow, mycli'),
  {
    name: 'mysqlclient of Python',
    usedBy: 'Django, Superset; on libmariadb',
    async prepare() {
      await debianPackages('gcc', 'libc6-dev', 'libmariadb-dev', 'pkg-config')
      const interpreter = await pythonWith('mysqlclient', 'mysqlclient')
      return { command: [interpreter, program('python_drivers.py'), 'mysqlclient'] }
    },
  },
  pythonClient('mysql-connector-python', 'MySQL Connector/Python, in C', 'on libmysqlclient 9, which it brings along'),
  pythonClient('mysql-connector-python-pure', 'MySQL Connector/Python, pure', ''),
  pythonClient('asyncmy', 'asyncmy', 'SQLAlchemy, Tortoise'),
  pythonClient('aiomysql', 'aiomysql', 'on PyMySQL'),
  pythonClient('SQLAlchemy-pymysql', 'SQLAlchemy', 'Superset, Airflow; on PyMySQL'),
  {
    name: 'python-mysql-replication',
    usedBy: 'change data capture; on PyMySQL',
    async prepare() {
      return {
        command: [await pythonWith('replication', 'mysql-replication', 'cryptography'), program('replication.py')],
      }
    },
  },
]

function pythonClient(argument: string, name: string, usedBy: string): Client {
  return {
    name,
    usedBy,
    async prepare() {
      return { command: [await pythonWith('drivers', ...pythonPackages), program('python_drivers.py'), argument] }
    },
  }
}

function phpClient(argument: string, name: string, usedBy: string): Client {
  return {
    name,
    usedBy,
    async prepare() {
      await debianPackages('php-cli', 'php-mysql')
      return { command: ['php', '-d', 'mysqli.allow_local_infile=1', program('steps.php'), argument] }
    },
  }
}

function perlClient(driver: string, debianPackage: string, usedBy: string): Client {
  return {
    name: `DBD::${driver} of Perl`,
    usedBy,
    async prepare() {
      await debianPackages(debianPackage)
      return { command: ['/usr/bin/perl', program('steps.pl'), driver] }
    },
  }
}

/** The same program for an earlier version, which takes SQL as plain text. */
const sqlx08: Client = {
  name: 'sqlx 0.8 of Rust',
  usedBy: 'SeaORM 1',
  async prepare() {
    return await rustProgram('sqlx', 'rust-sqlx-0.8', async directory => {
      await replaceIn(join(directory, 'Cargo.toml'), ['sqlx = { version = "0.9"', 'sqlx = { version = "0.8"'])
      await replaceIn(join(directory, 'src/bin/sqlx.rs'), ['AssertSqlSafe(sql)', '&sql'], ['{AssertSqlSafe, ', '{'])
    })
  },
}

function rustClient(crate: string, usedBy: string): Client {
  return { name: `${crate} of Rust`, usedBy, prepare: () => rustProgram(crate, `rust-${crate}`) }
}

async function rustProgram(
  crate: string,
  name: string,
  change?: (directory: string) => Promise<void>,
): Promise<Command> {
  const directory = await cached(name, async directory => {
    await cp(program('rust'), directory, { recursive: true })
    await change?.(directory)
    await run('cargo', ['build', '--release', '--quiet', '--features', crate], {}, directory)
  })
  return { command: [join(directory, 'target/release', crate)] }
}

async function replaceIn(file: string, ...replacements: [string, string][]): Promise<void> {
  const text = await readFile(file, 'utf8')
  await writeFile(
    file,
    replacements.reduce((result, [from, to]) => result.replaceAll(from, to), text),
  )
}
