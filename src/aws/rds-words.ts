/** The RDS API's words for engines and states. Pure. */

/** Other engines, by their names in DescribeDBInstances and DescribeDBProxies. */
const NOT_MYSQL = /^(aurora-)?postgres|oracle|sqlserver|^(db2|docdb|neptune)/i

/** Whether the engine speaks another protocol than MySQL's. */
export function isOtherEngine(engine: string): boolean {
  return NOT_MYSQL.test(engine)
}

/** Nobody can log in to a database in these states. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html */
const NOT_UP =
  /^(stopped|stopping|starting|creating|deleting|deleted|failed|rebooting|restore-error|inaccessible-|incompatible-|storage-full|suspended)/

/** Whether a database with this status takes no logins. */
export function isDown(status: string): boolean {
  return NOT_UP.test(status)
}
