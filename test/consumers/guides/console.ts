import { createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
  logger: {
    error: (fields, message) => console.error(message, fields),
    warn: (fields, message) => console.warn(message, fields),
    info: (fields, message) => console.log(message, fields),
    debug: () => {},
  },
})
const { host, port } = await proxy.listen()
const connection = await mysql.createConnection({ host, port, user: 'iam_user' })
await connection.end()
await proxy.close()
