/** The real servers of a test run: a test runs on MariaDB and on MySQL. */
import { type Test, test } from 'tap'
import type { RealServer } from './database-server.ts'
import { realServer } from './mariadb.ts'
import { mysqlServer, mysqlUnavailable } from './mysql.ts'

/** A test for each server. Where MySQL is unavailable, its test is skipped and says why; in CI the run fails before. */
export function testOnEachServer(name: string, body: (t: Test, server: RealServer) => Promise<void>): void {
  test(`${name}, on MariaDB`, async t => await body(t, await realServer(t)))
  test(`${name}, on MySQL`, { skip: mysqlUnavailable() ?? false }, async t => await body(t, await mysqlServer(t)))
}

/** Whether `server` is MariaDB: its greeting's version says so. */
export function isMariadb({ version }: RealServer): boolean {
  return /mariadb/i.test(version)
}
