import { setImmediate } from 'node:timers/promises'
import { test } from 'tap'
import { tolerateFailures } from '../src/host-logger.ts'
import type { Logger } from '../src/log.ts'

const LEVELS = ['error', 'warn', 'info', 'debug'] as const

test('a logger gets what it always got, with its own `this`', t => {
  const lines: unknown[] = []
  class Host {
    name = 'host'
    error(fields: object, message: string) {
      lines.push([this.name, fields, message])
    }
    warn = this.error
    info = this.error
    debug = this.error
  }
  const log = tolerateFailures(new Host())
  for (const level of LEVELS) log[level]({ level }, 'said')
  t.same(
    lines,
    LEVELS.map(level => ['host', { level }, 'said']),
  )
  t.end()
})

test('no logger can end what logs', async t => {
  const unhandled: unknown[] = []
  const note = (error: unknown) => void unhandled.push(error)
  process.on('unhandledRejection', note)
  const loggers: Record<string, unknown> = {
    'a method that throws': () => {
      throw new Error('full')
    },
    'a promise that is rejected': async () => {
      throw new Error('full')
    },
    'a rejected promise of another library': () => ({
      // biome-ignore lint/suspicious/noThenProperty: this is what such a promise has
      then: (_resolve: unknown, reject: (error: Error) => void) => reject(new Error('full')),
    }),
    'a promise whose `then` throws': () => ({
      // biome-ignore lint/suspicious/noThenProperty: a hostile one
      get then() {
        throw new Error('full')
      },
    }),
    'no function': 'error',
    'no method': undefined,
  }
  for (const [name, method] of Object.entries(loggers)) {
    const log = tolerateFailures({ error: method, warn: method, info: method, debug: method } as unknown as Logger)
    for (const level of LEVELS) t.doesNotThrow(() => log[level]({}, 'said'), `${name}: ${level}`)
  }
  await setImmediate()
  await setImmediate()
  process.off('unhandledRejection', note)
  t.same(unhandled, [])
})
