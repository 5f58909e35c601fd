/** One proxy for the whole run. Vitest and Jest start it before the first test. */
import { createProxy } from 'mysql-iam-proxy'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
})

export async function setup() {
  const { host, port } = await proxy.listen()
  // Workers inherit the environment.
  process.env['DATABASE_URL'] = `mysql://iam_user@${host}:${port}/orders`
}

export async function teardown() {
  await proxy.close()
}
