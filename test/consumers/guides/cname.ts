import { createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

const proxy = createProxy({
  // RDS verifies tokens for this name, and it is on the certificate.
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  connect: 'orders.db.example.com', // the CNAME, or a load balancer
  region: 'eu-west-1', // required only if the name of rdsEndpoint has none
  listen: '127.0.0.1:0',
})
const { host, port } = await proxy.listen()
const connection = await mysql.createConnection({ host, port, user: 'iam_user' })

const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
console.log(rows)

await connection.end()
await proxy.close()
