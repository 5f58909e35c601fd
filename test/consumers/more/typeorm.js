import { createProxy } from 'mysql-iam-proxy'
import { DataSource } from 'typeorm'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
})
const { host, port } = await proxy.listen()
const source = new DataSource({ type: 'mysql', host, port, username: 'iam_user', database: 'orders' })
await source.initialize()
console.log(await source.query('SELECT CURRENT_USER() AS user'))
await source.destroy()
await proxy.close()
