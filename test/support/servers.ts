/** The real servers of a test run: a test runs on MariaDB and on MySQL. */
import { type Test, test } from 'tap'
import type { RealServer } from './database-server.ts'
import { realServer, startMariadb } from './mariadb.ts'
import { mysqlServer, mysqlUnavailable, startMysql } from './mysql.ts'

type Body = (t: Test, server: RealServer) => Promise<void>

/** A test for each server. Where MySQL is unavailable, its test is skipped and says why; in CI the run fails before. */
export function testOnEachServer(name: string, body: Body): void {
  test(`${name}, on MariaDB`, async t => await body(t, await realServer(t)))
  test(`${name}, on MySQL`, { skip: mysqlUnavailable() ?? false }, async t => await body(t, await mysqlServer(t)))
}

/** The same with servers that no other test uses, for changes that all sessions see. */
export function testOnEachOwnServer(name: string, body: Body): void {
  const withOwn = (start: () => Promise<RealServer>) => async (t: Test) => {
    const server = await start()
    t.teardown(() => server.stop())
    await body(t, server)
  }
  test(`${name}, on MariaDB`, withOwn(startMariadb))
  test(`${name}, on MySQL`, { skip: mysqlUnavailable() ?? false }, withOwn(startMysql))
}

/** Whether `server` is MariaDB: its greeting's version says so. */
export function isMariadb({ version }: RealServer): boolean {
  return /mariadb/i.test(version)
}
