import { createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0', // a free port
})
const { host, port } = await proxy.listen()
const pool = mysql.createPool({ host, port, user: 'iam_user', database: 'orders', connectionLimit: 10 })

const [rows] = await pool.query('SELECT CURRENT_USER() AS user')
console.log(rows)

await pool.end()
await proxy.close()
