import { createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
})
const pool = mysql.createPool({ stream: proxy.connect, user: 'iam_user', database: 'orders' })

const [rows] = await pool.query('SELECT CURRENT_USER() AS user')
console.log(rows)

await pool.end()
await proxy.close()
