/** The client process of login.ts: it logs in repeatedly with mysql2. */
import type { Credentials } from '../src/aws/credentials.ts'
import { createTokenSource } from '../src/aws/token.ts'
import { answer } from './child.ts'
import type { Route } from './client.ts'
import { logIn } from './line-login.ts'

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
