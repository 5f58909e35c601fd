/** The clients: how each is got and started, and who else is built on it. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from './client-run.ts'
import {
  cacheDirectory,
  cached,
  clientsDirectory,
  debianPackages,
  findProgram,
  jars,
  nodeModules,
  pythonWith,
  run,
} from './install.ts'

export interface Client {
  name: string
  /** the programs that use this driver */
  usedBy?: string
  /** @throws Error why it cannot be run here */
  prepare(): Promise<Command>
}

export interface ClientSettings {
  /** a folder with the packages of npm; default: one of the cache */
  modules?: string | undefined
  /** how to start the mysql program of MySQL, where it is not simply mysql */
  mysqlClient?: string | undefined
}

const program = (name: string) => join(clientsDirectory, name)

/** Those that npm and Debian give, for CI. */
export function fewClients(settings: ClientSettings = {}): Client[] {
  const node = (name: string, usedBy: string): Client => ({
    name: `${name} (npm)`,
    usedBy,
    async prepare() {
      const modules = settings.modules ?? (await nodeModules())
      return { command: [process.execPath, program('node-drivers.mjs'), name], env: { COMPAT_MODULES: modules } }
    },
  })
  return [
    node('mysql2', 'Beekeeper Studio, Sqlectron, Drizzle, TypeORM, Sequelize, Knex'),
    node('mysql', 'older Node.js applications, zongji'),
    node('mariadb', 'Prisma 7'),
    {
      name: 'mariadb (program)',
      usedBy: 'libmariadb',
      async prepare() {
        await debianPackages('mariadb-client')
        return { command: [process.execPath, program('cli.mjs'), 'mariadb'] }
      },
    },
  ]
}

export function allClients(settings: ClientSettings = {}): Client[] {
  return [...fewClients(settings), ...mysqlProgram(settings), ...pythonClients()]
}

function mysqlProgram({ mysqlClient }: ClientSettings): Client[] {
  return [
    {
      name: 'mysql (program)',
      usedBy: 'libmysqlclient; MySQL Workbench',
      async prepare() {
        const command = mysqlClient?.split(' ') ?? ['mysql']
        const version = await run(command[0]!, [...command.slice(1), '--version'])
        // Debian calls MariaDB's program mysql too.
        if (/mariadb/i.test(version))
          throw new Error('the mysql of this machine is MariaDB\u2019s; --mysql-client names one')
        return { command: [process.execPath, program('cli.mjs'), ...command] }
      },
    },
  ]
}

function pythonClients(): Client[] {
  const python = (name: string, usedBy: string, ...packages: string[]): Client => ({
    name,
    usedBy,
    async prepare() {
      const interpreter = await pythonWith(
        'drivers',
        'PyMySQL',
        'cryptography',
        'mysql-connector-python',
        'asyncmy',
        'aiomysql',
        'SQLAlchemy',
        ...packages,
      )
      return { command: [interpreter, program('python_drivers.py'), name] }
    },
  })
  return [python('PyMySQL', 'Superset, Airflow, mycli')]
}

export { cacheDirectory, cached, fileURLToPath, findProgram, jars }
