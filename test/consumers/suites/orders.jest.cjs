const mysql = require('mysql2/promise')

test('the user of the database', async () => {
  const connection = await mysql.createConnection(process.env['DATABASE_URL'])
  const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
  expect(rows).toEqual([{ user: 'iam_user@%' }])
  await connection.end()
})
