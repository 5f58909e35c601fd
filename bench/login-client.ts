/** The client process of login.ts: it logs in repeatedly with mysql2. */
import { connect } from 'node:net'
import mysql from 'mysql2/promise'
import type { Credentials } from '../src/aws/credentials.ts'
import { createTokenSource } from '../src/aws/token.ts'
import { answer } from './child.ts'
import type { Route } from './client.ts'

export interface LoginTask {
  route: Route
  count: number
  /** log in with tokens signed here, instead of the route's account */
  iam: { rds: { host: string; port: number; region: string }; user: string; credentials: Credentials } | undefined
}

answer<LoginTask>(async ({ route, count, iam }) => {
  const createToken = iam && createTokenSource(iam.rds, async () => iam.credentials)
  const times: number[] = []
  // The first login loads code here and in the proxy, so it does not count.
  for (let index = -1; index < count; index++) {
    const started = performance.now()
    const token = createToken ? await createToken(iam.user) : undefined
    const connection = await logIn(route, iam?.user, token)
    await connection.query('SELECT 1')
    if (index >= 0) times.push(performance.now() - started)
    await connection.end()
  }
  return times
})

function logIn(route: Route, user = route.user, token: string | undefined): Promise<mysql.Connection> {
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
