import { createServer } from 'node:http'
import { createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
})
const { host, port } = await proxy.listen()
const pool = mysql.createPool({ host, port, user: 'iam_user', database: 'orders' })

const server = createServer(async (_request, response) => {
  const [rows] = await pool.query('SELECT CURRENT_USER() AS user')
  response.end(JSON.stringify(rows))
})
server.listen(0, '127.0.0.1', () => console.log('ready'))

process.once('SIGTERM', () => {
  // First what uses the pool, then the pool, then the proxy.
  server.close(async () => {
    await pool.end()
    await proxy.close(5_000) // other clients get 5 s for their transactions
    console.log('closed')
  })
})
