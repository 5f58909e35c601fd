import { createProxy, type Logger } from 'mysql-iam-proxy'
import mysql from 'mysql2/promise'
import { createLogger, transports } from 'winston'

const winston = createLogger({ transports: [new transports.Console()] })
const at = (level: string) => (fields: object, message: string) => void winston.log({ ...fields, level, message })
const logger: Logger = { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }

const proxy = createProxy({
  rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
  listen: '127.0.0.1:0',
  logger,
})
const { host, port } = await proxy.listen()
const connection = await mysql.createConnection({ host, port, user: 'iam_user' })
await connection.end()
await proxy.close()
