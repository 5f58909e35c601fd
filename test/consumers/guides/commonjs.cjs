const { createProxy } = require('mysql-iam-proxy')
const mysql = require('mysql2/promise')

async function main() {
  const proxy = createProxy({
    rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
    listen: '127.0.0.1:0',
  })
  const { host, port } = await proxy.listen()
  const connection = await mysql.createConnection({ host, port, user: 'iam_user' })
  const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
  console.log(rows)
  await connection.end()
  await proxy.close()
}

main()
