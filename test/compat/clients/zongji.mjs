/** @vlasky/zongji: reads the binlog over a connection of mysql2 or mysql. */
import { randomBytes, randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { runSteps, Unsupported } from './steps.mjs'

const modules = process.env.COMPAT_MODULES
const require = createRequire(join(modules, 'package.json'))
const { version } = JSON.parse(readFileSync(join(modules, 'node_modules/@vlasky/zongji/package.json')))

await runSteps({
  version,
  error: error => [error.errno ?? 0, error.sqlState ?? '', error.sqlMessage ?? error.message],
  connect() {
    throw new Unsupported('reads the binlog, nothing else')
  },
  binlog,
})

async function binlog({ host, port, user, password, database }, sql) {
  const marker = randomBytes(8).toString('hex')
  const ZongJi = require('@vlasky/zongji')
  const stream = new (ZongJi.default ?? ZongJi)({ host, port, user, password })
  const writer = await require('mysql2/promise').createConnection({ host, port, user, password, database })
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no event within 20 s')), 20_000)
      stream.on('error', reject)
      stream.on('binlog', event => {
        if (!event.rows?.some(row => row.word === marker)) return
        clearTimeout(timer)
        resolve('seen')
      })
      stream.on('ready', () => writer.query(sql.replace('{marker}', marker)).catch(reject))
      stream.start({
        startAtEnd: true,
        serverId: 1_000_000 + randomInt(1 << 20),
        includeEvents: ['tablemap', 'writerows'],
      })
    })
  } finally {
    stream.stop()
    await writer.end()
  }
}
