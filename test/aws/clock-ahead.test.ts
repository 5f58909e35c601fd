import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import { clockAhead, noteDate, watchAwsDates } from '../../src/aws/clock-ahead.ts'

const MINUTE_MS = 60_000
const ago = (minutes: number) => new Date(Date.now() - minutes * MINUTE_MS).toUTCString()
const minutesAhead = () => Math.round(clockAhead()! / MINUTE_MS)

test('the date of an answer of AWS', async t => {
  for (const host of ['example.com', 'amazonaws.com.example', 'notamazonaws.com', '169.254.1.1', 'localhost']) {
    noteDate(host, ago(0))
    t.equal(clockAhead(), undefined, host)
  }
  noteDate('sts.eu-west-1.amazonaws.com', undefined)
  noteDate('sts.eu-west-1.amazonaws.com', 'yesterday')
  t.equal(clockAhead(), undefined)
  const hosts = [
    'sts.eu-west-1.amazonaws.com',
    'sts.cn-north-1.amazonaws.com.cn',
    'portal.sso.eu-west-1.amazonaws.com',
    'sts.eusc-de-east-1.amazonaws.eu',
    'sts.eu-west-1.api.aws',
    '169.254.169.254',
    '169.254.170.2',
    '169.254.170.23',
    'fd00:ec2::254',
  ]
  for (const [index, host] of hosts.entries()) {
    noteDate(host, ago(index + 1))
    t.equal(minutesAhead(), index + 1, host)
  }
})

test('the clock is set after the answer', async t => {
  noteDate('sts.eu-west-1.amazonaws.com', ago(0))
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + 20 * MINUTE_MS })
  t.equal(minutesAhead(), 20)
})

test('answers of every client in this process are noticed, those of others ignored', async t => {
  watchAwsDates()
  watchAwsDates()
  noteDate('sts.eu-west-1.amazonaws.com', ago(3))
  const server = createServer((_request, response) => response.setHeader('Date', ago(30)).end())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const { request } = await import('node:http')
  const get = (host: string) =>
    new Promise<void>((resolve, reject) => {
      const lookup = ((_name: string, options: { all?: boolean }, done: (...found: unknown[]) => void) =>
        options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) as never
      request({ host, port, lookup }, response => response.resume().on('end', resolve))
        .on('error', reject)
        .end()
    })
  await get('example.com')
  t.equal(minutesAhead(), 3)
  await get('sts.eu-west-1.amazonaws.com')
  t.equal(minutesAhead(), 30)
})
