/** A login by mysql2. */
import { connect } from 'node:net'
import mysql from 'mysql2/promise'
import type { Route } from './client.ts'

/** @param token instead of the route's password */
export function logIn(route: Route, user = route.user, token?: string): Promise<mysql.Connection> {
  const { tls } = route
  return mysql.createConnection({
    stream: () => connect({ host: route.host, port: route.port, noDelay: true }),
    host: tls?.servername ?? route.host,
    user,
    password: token ?? route.password,
    ...(tls ? { ssl: tls.ca ? { ca: tls.ca, verifyIdentity: true } : { rejectUnauthorized: false } } : {}),
    ...(token ? { authPlugins: { mysql_clear_password: () => () => Buffer.from(`${token}\0`) } } : {}),
  })
}
