import { createProxy } from 'mysql-iam-proxy'
import { QueryTypes, Sequelize } from 'sequelize'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
})
const { host, port } = await proxy.listen()
const db = new Sequelize('orders', 'iam_user', '', { dialect: 'mysql', host, port, logging: false })

console.log(await db.query('SELECT CURRENT_USER() AS user', { type: QueryTypes.SELECT }))

await db.close()
await proxy.close()
