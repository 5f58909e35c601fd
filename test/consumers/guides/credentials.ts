import { readFile } from 'node:fs/promises'
import { type Credentials, createProxy } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'

/** Reads what an agent on this machine writes, for example that of a vault. */
async function readCredentials(): Promise<Credentials> {
  const file = await readFile(process.env['CREDENTIALS_FILE'] ?? '/run/secrets/aws.json', 'utf8')
  const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = JSON.parse(file)
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: SessionToken,
    expiration: new Date(Expiration), // the proxy asks again before
  }
}

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
  credentials: readCredentials,
})
const { host, port } = await proxy.listen()
const connection = await mysql.createConnection({ host, port, user: 'iam_user' })

const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
console.log(rows)

await connection.end()
await proxy.close()
