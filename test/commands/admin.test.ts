import { type Test, test } from 'tap'
import { startAdminAsSet } from '../../src/commands/start-admin.ts'
import { namesOfSettings } from '../../src/config/settings.ts'
import { formatHostPort } from '../../src/endpoint.ts'
import { silent } from '../../src/log.ts'

const TOKEN = 'a-token-of-22-letters'

/** The admin listener that these settings ask for. */
async function start(t: Test, listen: string | undefined, tokenFile?: string, healthListen?: string) {
  const life = { endpoints: () => [], isStarted: () => true, isStopping: () => false }
  const lines: string[] = []
  const log = { ...silent, info: (_fields: object, message: string) => lines.push(message) }
  const admin = await startAdminAsSet(
    { 'admin-listen': listen, 'admin-token-file': tokenFile, 'health-listen': healthListen, 'ready-when': 'any' },
    life,
    log,
    namesOfSettings({}, {}),
  )
  if (admin) t.teardown(() => admin.close())
  return { admin, lines }
}

test('no admin listener without --admin-listen', async t => {
  const { admin, lines } = await start(t, undefined)
  t.equal(admin, undefined)
  t.same(lines, [])
})

test('on loopback', async t => {
  const { admin, lines } = await start(t, '127.0.0.1:0')
  t.same(lines, [`admin listener on http://${formatHostPort(admin!.address!)}`])
  const status = await fetch(`http://127.0.0.1:${admin!.address?.port}/api/status`)
  t.match(await status.json(), { version: /^\d+\.\d+\.\d+/, endpoints: [] })
})

test('beyond loopback, with a token', async t => {
  const files = t.testdir({ token: `${TOKEN}\n` })
  const { admin } = await start(t, '0.0.0.0:0', `${files}/token`)
  const ask = (headers: Record<string, string>) =>
    fetch(`http://127.0.0.1:${admin!.address?.port}/api/status`, { headers })
  t.equal((await ask({})).status, 401)
  t.equal((await ask({ authorization: `Bearer ${TOKEN}` })).status, 200)
})

test('the health listener', async t => {
  const alone = await start(t, undefined, undefined, '0.0.0.0:0')
  t.equal(alone.admin!.address, undefined)
  const { port } = alone.admin!.healthAddress!
  t.same(alone.lines, [`health and metrics on http://0.0.0.0:${port}`])
  t.equal((await fetch(`http://127.0.0.1:${port}/readiness`)).status, 200)
  const both = await start(t, '127.0.0.1:0', undefined, '0.0.0.0:0')
  t.match(both.lines, [/^admin listener on http:\/\/127/, /^health and metrics on http:\/\/0\.0/])
})

test('mistakes', async t => {
  const files = t.testdir({ token: `${TOKEN}\n`, short: 'short' })
  const cases: [listen: string | undefined, tokenFile: string | undefined, message: RegExp][] = [
    [
      '0.0.0.0:0',
      undefined,
      /^--admin-listen: 0\.0\.0\.0:0 is not a loopback address; add --admin-token-file, or use --health-listen for /,
    ],
    ['0.0.0.0:0', `${files}/short`, /16 ASCII characters/],
    ['0.0.0.0:0', `${files}/none`, /ENOENT/],
    [undefined, `${files}/token`, /^--admin-token-file: needs --admin-listen$/],
    ['127.0.0.1', undefined, /^--admin-listen: "127\.0\.0\.1" needs a port, as in 127\.0\.0\.1:9090$/],
    ['127.0.0.1:70000', undefined, /^--admin-listen: "127\.0\.0\.1:70000" is not host/],
  ]
  for (const [listen, tokenFile, message] of cases) {
    await t.rejects(start(t, listen, tokenFile), { code: 'CONFIG_INVALID', message }, `${listen} ${tokenFile}`)
  }
  const message = /^--health-listen: "9090" needs a port/
  await t.rejects(start(t, undefined, undefined, '9090'), { code: 'CONFIG_INVALID', message })
})
