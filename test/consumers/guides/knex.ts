import knex from 'knex'
import { createProxy } from 'mysql-iam-proxy'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
})
const { host, port } = await proxy.listen()
const db = knex({ client: 'mysql2', connection: { host, port, user: 'iam_user', database: 'orders' } })

console.log(await db.select(db.raw('CURRENT_USER() AS user')))

await db.destroy()
await proxy.close()
