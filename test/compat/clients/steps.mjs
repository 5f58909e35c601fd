/** Carries out the steps of test/compat/behaviours.ts with a driver for Node.js; a line of JSON for each behaviour. */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

/** Thrown by what a driver has no way to do. */
export class Unsupported extends Error {}

const md5 = text => createHash('md5').update(text).digest('hex')

/**
 * @param driver { version, connect(target, options), error(thrown) → [errno, SQLSTATE, message] }; what it connects
 * has query, execute, info, identity, reset, changeUser, cursor, timeout, pipeline and close, as far as there is such
 */
export async function runSteps(driver) {
  const { targets, behaviours, big, file } = JSON.parse(process.env.COMPAT)
  driver.file = file
  print({ version: driver.version })
  for (const { id, steps } of behaviours) print({ behaviour: id, ...(await runBehaviour(driver, targets, big, steps)) })
  process.exit()
}

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function runBehaviour(driver, targets, big, steps) {
  const connections = {}
  const values = []
  try {
    for (const step of steps) values.push((await runStep(driver, targets, big, connections, step)) ?? null)
    return { values }
  } catch (error) {
    if (error instanceof Unsupported) return { unsupported: error.message }
    return { values, error: driver.error(error) }
  } finally {
    for (const connection of Object.values(connections)) await connection.close?.()?.catch?.(() => {})
  }
}

async function runStep(driver, targets, big, connections, step) {
  const name = step.on ?? 'a'
  const connection = connections[name]
  const target = targets[step.to ?? 'plain']
  const need = operation => {
    if (!connection[operation]) throw new Unsupported(`no ${operation}`)
  }
  const sql = step.sql
    ?.replace('{big}', () => big.repeat.repeat(big.times))
    .replace('{threadId}', () => {
      const id = connections.a.identity?.()[0]
      if (!id) throw new Unsupported('tells no thread id')
      return id
    })
  switch (step.do) {
    case 'connect': {
      connections[name] = await driver.connect({ ...target, ...given(step) }, step)
      return null
    }
    case 'connectFails':
      try {
        connections[name] = await driver.connect({ ...target, ...given(step) }, step)
        await connections[name].query('SELECT 1')
      } catch (error) {
        if (error instanceof Unsupported) throw error
        return driver.error(error)
      }
      throw new Error('the login was accepted')
    case 'close':
      await connection.close()
      delete connections[name]
      return null
    case 'query':
      return shown(await connection.query(sql), step)
    case 'execute':
      need('execute')
      return shown(await connection.execute(sql, step.params.map(parameter)), step)
    case 'fails':
      try {
        await connection.query(sql)
      } catch (error) {
        // An error between two commands comes as an event.
        return driver.error(connection.event?.() ?? error)
      }
      throw new Error('there was no error')
    case 'identity':
      return connection.identity?.() ?? [null, null]
    case 'info':
      need('info')
      return (await connection.info(sql)).map(String)
    case 'cursor':
      need('cursor')
      return shown([await connection.cursor(sql, step.size)], { digest: true })
    case 'interrupted':
      try {
        const [rows] = await connection.query(sql)
        return show(rows[0][0]) === '1' ? 'interrupted' : 'not interrupted'
      } catch (error) {
        const answer = driver.error(error)
        if (answer[0] === 1317) return 'interrupted'
        throw error
      }
    case 'timeout': {
      need('timeout')
      const started = Date.now()
      await connection.timeout(sql, step.ms).catch(error => {
        if (error instanceof Unsupported) throw error
      })
      return Date.now() - started < 8_000 ? 'timed out' : 'ran to its end'
    }
    case 'reset':
      need('reset')
      await connection.reset()
      return null
    case 'changeUser':
      need('changeUser')
      await connection.changeUser(given(step))
      return null
    case 'reuse':
      if (!driver.reuse) throw new Unsupported('no pool that resets')
      return (await driver.reuse(target, sql)).map(show)
    case 'pipeline': {
      need('pipeline')
      const statements = Array.from({ length: step.size }, (_, i) => sql.replace('{n}', i + 1))
      const results = await connection.pipeline(statements)
      return results.map(rows => rows.map(row => row.map(show)))
    }
    case 'sleep':
      await sleep(step.ms)
      return null
    case 'browse':
      need('browse')
      return (await connection.browse(sql)).slice(0, step.size)
    case 'edit':
      need('edit')
      await connection.edit(sql, step.text)
      return 'saved'
    case 'program':
      if (!driver.program) throw new Unsupported('not one of several programs')
      return await driver.program(step.name, target, driver.file)
    case 'binlog':
      if (!driver.binlog) throw new Unsupported('reads no binlog')
      return await driver.binlog(target, sql)
  }
  throw new Unsupported(`cannot ${step.do}`)
}

function given({ user, password, database }) {
  return Object.fromEntries(Object.entries({ user, password, database }).filter(([, value]) => value !== undefined))
}

function parameter(value) {
  if (value === null || typeof value !== 'object') return value
  return 'hex' in value ? Buffer.from(value.hex, 'hex') : value.repeat.repeat(value.times)
}

function shown(results, { digest }) {
  return results.map(rows => {
    const texts = rows.map(row => row.map(show))
    return digest ? [texts.length, md5(texts.map(row => `${row.join('\t')}\n`).join(''))] : texts
  })
}

export function show(value) {
  if (value === null || value === undefined) return 'NULL'
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no date' : value.toISOString()
  if (value === true || value === false) return value ? '1' : '0'
  let bytes
  if (Buffer.isBuffer(value)) bytes = value
  else if (value instanceof Uint8Array) bytes = Buffer.from(value)
  else if (typeof value === 'object') bytes = Buffer.from(JSON.stringify(value))
  else bytes = Buffer.from(String(value))
  if (bytes.length > 1_000) return `${bytes.length} bytes, MD5 ${md5(bytes)}`
  const text = bytes.toString()
  return Buffer.from(text).equals(bytes) ? text : `0x${bytes.toString('hex')}`
}
