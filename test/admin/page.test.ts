/** The status page, in a real browser. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { type Test, test } from 'tap'
import { type Admin, startAdmin } from '../../src/admin/server.ts'
import { createStatusPage } from '../../src/admin/status-page.ts'
import { silent } from '../../src/log.ts'
import { countOutcome, type EndpointState } from '../../src/state.ts'
import { ensureProgram } from '../support/packages.ts'
import { addSession, makeState } from '../support/states.ts'

const TOKEN = 'admin-token-of-the-tests'
const HOUR = 3_600_000
const DAY = 24 * HOUR
const EVIL = '<img src=x onerror="document.title=\'hit\'"><script>document.title="hit"</script>'

const executablePath = await ensureProgram('chromium-headless-shell', 'chromium-headless-shell')
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
test('the browser', async t => t.match(browser.version(), /^\d+\./))

async function serve(t: Test, states: EndpointState[], token?: string, port = 0): Promise<Admin> {
  const life = { isStarted: () => true, isStopping: () => false }
  const listen = { host: '127.0.0.1', port }
  const admin = await startAdmin(
    { listen, token, readyWhen: 'any', endpoints: () => states, ...life, version: '1.2.3' },
    silent,
  )
  t.teardown(() => admin.close())
  return admin
}

interface Shown {
  page: Page
  /** errors and warnings of the browser, including violations of the Content-Security-Policy */
  browserErrors: string[]
}

async function open(
  t: Test,
  admin: Pick<Admin, 'address'>,
  options: BrowserContextOptions = {},
  path = '/',
): Promise<Shown> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
  t.teardown(() => context.close())
  context.setDefaultTimeout(120_000)
  const page = await context.newPage()
  const browserErrors: string[] = []
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) browserErrors.push(message.text())
  })
  page.on('pageerror', error => browserErrors.push(error.message))
  page.on('dialog', dialog => browserErrors.push(`dialog: ${dialog.message()}`))
  await page.goto(`http://127.0.0.1:${admin.address?.port}${path}`)
  return { page, browserErrors }
}

/** Two endpoints, with sessions, errors and failures. */
function busyEndpoints(): [EndpointState, EndpointState] {
  const now = Date.now()
  const shop = makeState({
    name: 'shop',
    maxConnections: 20,
    loginsQueued: 1,
    outcomes: new Map([
      ['OK', 1_204],
      ['DIAL_TIMEOUT', 5],
    ]),
    credentialsExpire: now + HOUR,
    certificateExpires: now + 5.5 * DAY,
    localCertificateExpires: () => now + 300 * DAY,
    rolesAnywhereCertificateExpires: now + 20.5 * HOUR,
  })
  const other = makeState({ name: 'database-2', address: '127.0.0.1:3307', credentialsFailed: true })
  const programs = ['DBeaver', 'mysql', undefined, 'a-very-long-name-of-some-connector/12.0.1-beta-20260101']
  for (let i = 0; i < 12; i++) {
    addSession(i % 4 === 0 ? other : shop, {
      user: `user_${i}`,
      client: `10.0.0.${i}`,
      program: programs[i % 4],
      started: performance.now() - i * HOUR,
      traffic: { bytesFromClient: i * 1_000, bytesFromUpstream: i * 1_000_000 },
    })
  }
  const error = {
    hint: 'Check security groups.',
    session: 'test-1',
    localUser: undefined,
    user: 'app',
    client: '10.0.0.9',
  }
  const times = { at: now, firstAt: now - HOUR, count: 3 }
  shop.recentErrors.push({ ...times, code: 'DIAL_TIMEOUT', message: 'no answer from my-nlb:3306', ...error })
  return [shop, other]
}

/** The row and details of an endpoint. */
const endpointOf = (page: Page, name: string) =>
  page.locator('.endpoint').filter({ has: page.getByRole('button', { name, exact: true }) })

/** The texts of a column of the table, from top to bottom. */
const column = (page: Page, name: string) => page.locator(`#session-rows td[data-column="${name}"]`).allTextContents()

const overflow = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/** The accessibility violations that axe finds: the ids of its rules and the elements. */
async function axe(page: Page): Promise<string[]> {
  const source = (await import('axe-core')).default.source
  // Evaluated over CDP, which the Content-Security-Policy does not restrict.
  await page.evaluate(source)
  return await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import('axe-core') }
    const { violations } = await axe.run(document)
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  })
}

test('the page in the server of a host program: below a path, with buttons only where they work', async t => {
  for (const closeSessions of [false, true]) {
    const [state] = busyEndpoints()
    const ends: (() => void)[] = []
    const proxy = { state, metrics: () => '', status: () => ({ state: 'listening' as const }) }
    const mount = createStatusPage({ ...proxy, whenClosed: stop => void ends.push(stop) }, silent)
    const host = createServer(mount({ trustNetwork: false, closeSessions })).listen(0, '127.0.0.1')
    await once(host, 'listening')
    t.teardown(() => host.close())
    const { port } = host.address() as AddressInfo
    const { page, browserErrors } = await open(t, { address: { host: '127.0.0.1', port } }, {}, '/tools/mysql')
    await page.locator('#session-rows tr').first().waitFor()
    t.equal(new URL(page.url()).pathname, '/tools/mysql/')
    t.match(await page.locator('body').innerText(), 'shop')
    const buttons = page.locator('#session-rows button.close')
    t.equal(await buttons.count(), 9)
    t.equal(await buttons.first().isVisible(), closeSessions, `closeSessions: ${closeSessions}`)
    if (closeSessions) {
      const { size } = state.sessions
      await buttons.first().click()
      await page.getByRole('button', { name: 'Close session', exact: true }).click()
      await page.waitForFunction(count => document.querySelectorAll('#session-rows tr').length < count, size)
      t.equal(state.sessions.size, size - 1, 'the session has ended')
    } else t.same(browserErrors, [])
    for (const end of ends) end()
  }
})

test('the page shows the status, without browser errors', async t => {
  const states = busyEndpoints()
  const admin = await serve(t, states)
  states[0].onPhase?.('total', 12)
  const { page, browserErrors } = await open(t, admin)
  await page.getByRole('button', { name: 'shop', exact: true }).click()
  await page.getByRole('button', { name: 'database-2', exact: true }).click()
  await endpointOf(page, 'database-2').locator('.expiries li').first().waitFor()
  const text = await page.locator('body').innerText()
  for (const part of [
    'Ready, except database-2: no AWS credentials',
    '127.0.0.1:3307',
    'my-nlb-0123456789abcdef.elb.ap-northeast-1.amazonaws.com:3306',
    'database-1.xxxxxxxxxxx.ap-northeast-1.rds.amazonaws.com:3306 in ap-northeast-1',
    '1,204',
    'and 5 failed',
    'of 20',
    'median 12 ms',
    'no answer from my-nlb:3306',
    'Check security groups.',
    '3×',
    'version 1.2.3',
  ]) {
    t.ok(text.includes(part), part)
  }
  t.match(
    await page.locator('.expiries').first().innerText(),
    /Database certificate expires in 5 days[\s\S]*Certificate for IAM Roles Anywhere expires in (20 h|19 h 59 min)/,
  )
  t.equal(await page.locator('.expiries').first().locator('[data-level="soon"]').count(), 1)
  t.equal(await page.locator('.expiries').last().locator('[data-level="bad"]').count(), 1)
  t.same((await column(page, 'User')).slice(0, 2), ['user_11', 'user_10'], 'oldest first')
  t.equal((await column(page, 'User')).length, 12)
  t.match(await endpointOf(page, 'shop').locator('svg').first().getAttribute('aria-label'), /median 12 ms/)
  t.same(browserErrors, [])
})

test('expired credentials are a problem only if a request for new ones failed', async t => {
  const now = Date.now()
  const cases = {
    good: makeState({ name: 'good', credentialsExpire: now + HOUR }),
    unknown: makeState({ name: 'unknown', credentialsExpire: now - HOUR }),
    soon: makeState({ name: 'soon', credentialsExpire: now + HOUR, credentialsFailed: true }),
    bad: makeState({ name: 'bad', credentialsExpire: now - HOUR, credentialsFailed: true }),
  }
  const { page } = await open(t, await serve(t, Object.values(cases)))
  for (const level of Object.keys(cases)) {
    await page.getByRole('button', { name: level, exact: true }).click()
    const line = endpointOf(page, level).locator('.expiries li').first()
    t.equal(await line.getAttribute('data-level'), level, (await line.textContent()) ?? '')
  }
})

test('the page follows changes', async t => {
  const [state] = busyEndpoints()
  const { page, browserErrors } = await open(t, await serve(t, [state]))
  await page.getByText('user_11').waitFor()
  t.notOk(await page.locator('th[data-column="Endpoint"]').isVisible(), 'no endpoint column for a single endpoint')
  const session = addSession(state, { user: 'newcomer' })
  const row = page.getByRole('row', { name: 'newcomer' })
  await row.waitFor()
  session.traffic.bytesFromUpstream = 50_000_000
  await row.getByText('50.0 MB').waitFor()
  await row.getByText(/[1-9][\d.]* [kM]B\/s/).waitFor()
  state.onPhase?.('dial', 7)
  state.onPhase?.('total', 42)
  await page.getByText('median 42 ms').waitFor()
  await page.getByText('Median of each phase: dial 7.0 ms').waitFor()
  await page.locator('.bar.good[d*="V"]').waitFor({ state: 'attached' })
  await page.locator('.dot[d*="h0"]').waitFor({ state: 'attached' })
  await page.locator('.line.server').waitFor({ state: 'attached' })
  session.close('SESSION_CLOSED')
  await row.waitFor({ state: 'detached' })
  state.recentErrors.push({
    at: Date.now(),
    firstAt: Date.now(),
    count: 1,
    code: 'INTERNAL',
    message: 'late',
    hint: '',
    session: 'test-1',
    localUser: undefined,
    user: undefined,
    client: 'unix',
  })
  await page.getByText('late', { exact: true }).waitFor()
  t.same(browserErrors, [])
})

test('markup in names from clients is shown as text', async t => {
  const state = makeState({ name: EVIL, address: EVIL })
  addSession(state, { user: EVIL, database: EVIL, program: EVIL, client: EVIL })
  const who = { session: EVIL, localUser: undefined, user: EVIL, client: EVIL }
  state.recentErrors.push({ at: 1, firstAt: 1, count: 1, code: 'INTERNAL', message: EVIL, hint: EVIL, ...who })
  const other = makeState({ name: 'x', endpoint: { ...state.endpoint, user: EVIL } })
  const { page, browserErrors } = await open(t, await serve(t, [state, other]))
  await page.locator('#session-rows tr').waitFor()
  t.same(await column(page, 'User'), [EVIL])
  t.equal(await page.locator('img').count(), 0)
  t.equal(await page.locator('[data-at="name"]').first().textContent(), EVIL)
  await page.getByRole('button', { name: 'Close session' }).click()
  t.match(await page.locator('#confirm-who').textContent(), '<img')
  await page.getByRole('button', { name: 'Close session', exact: true }).click()
  await page.getByText('Closed the session of').waitFor()
  t.equal(state.sessions.size, 0)
  t.not(await page.title(), 'hit')
  t.same(browserErrors, [])
})

test('the Content-Security-Policy blocks injected content', async t => {
  const { page } = await open(t, await serve(t, [makeState()]))
  const directives = ['connect-src', 'form-action', 'img-src', 'script-src-attr', 'script-src-elem', 'style-src-elem']
  const blocked = await page.evaluate(async wanted => {
    const missing = new Set(wanted)
    const allBlocked = new Promise<void>(resolve => {
      document.addEventListener('securitypolicyviolation', event => {
        missing.delete(event.effectiveDirective)
        if (missing.size === 0) resolve()
      })
    })
    const script = document.createElement('script')
    script.textContent = 'document.title = "hit"'
    document.body.append(script)
    const image = document.createElement('img')
    image.src = 'http://127.0.0.1:1/'
    document.body.append(image)
    const style = document.createElement('style')
    style.textContent = 'body { display: none }'
    document.body.append(style)
    document.body.setAttribute('onclick', 'document.title = "hit"')
    document.body.click()
    const form = document.createElement('form')
    form.action = 'http://127.0.0.1:1/'
    document.body.append(form)
    form.submit()
    await fetch('http://127.0.0.1:1/').catch(() => {})
    await allBlocked
    return true
  }, directives)
  t.ok(blocked)
  t.not(await page.title(), 'hit')
})

test('another page can neither read, change nor frame the status page', async t => {
  const state = makeState({ name: 'a' })
  const session = addSession(state)
  const admin = await serve(t, [state])
  const target = `http://127.0.0.1:${admin.address?.port}`
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end(`<iframe src="${target}/"></iframe>`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  for (const host of ['127.0.0.1', 'localhost']) {
    const context = await browser.newContext()
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto(`http://${host}:${(server.address() as AddressInfo).port}/`)
    const tried = await page.evaluate(
      async ([target, close]) => {
        const outcomes: Record<string, string> = {}
        const requests: [string, string, RequestInit][] = [
          ['read', '/api/status', {}],
          ['metrics', '/metrics', {}],
          ['close', close, { method: 'POST' }],
          ['closeUnseen', close, { method: 'POST', mode: 'no-cors' }],
        ]
        for (const [name, path, init] of requests) {
          const failed = { type: 'failed' }
          outcomes[name] = (await fetch(target + path, init).catch(() => failed)).type
        }
        return outcomes
      },
      [target, `/api/sessions/a/${session.id}/close`] as const,
    )
    t.match(tried, { read: 'failed', metrics: 'failed', close: 'failed' })
    t.equal(state.sessions.size, 1)
    const frame = page.frames().find(frame => frame !== page.mainFrame())
    t.equal(await frame?.locator('h1').count(), 0)
  }
})

test('closing a session by keyboard alone', async t => {
  const state = makeState()
  const first = addSession(state, { user: 'first', started: 1 })
  const second = addSession(state, { user: 'second', started: 2 })
  const { page, browserErrors } = await open(t, await serve(t, [state]))
  await page.getByText('second').waitFor()
  const focused = () =>
    page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent)

  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Skip to the sessions')
  await page.keyboard.press('Enter')
  for (let i = 0; i < 40 && !/session of second/.test((await focused()) ?? ''); i++) await page.keyboard.press('Tab')
  t.match(await focused(), 'Close session of second from 127.0.0.1')
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle)
  t.equal(outline, 'solid', 'the focus is visible')

  await page.keyboard.press('Enter')
  t.equal(await focused(), 'Cancel', 'the harmless button has the focus')
  await page.keyboard.press('Escape')
  t.match(await focused(), 'Close session of second', 'the focus returns to the button')
  t.equal(state.sessions.size, 2)

  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Close session')
  await page.keyboard.press('Enter')
  await page.getByRole('status').filter({ hasText: 'Closed the session of second' }).waitFor()
  t.same([...state.sessions], [first])
  await page.waitForFunction(() => document.activeElement?.id === 'sessions')
  t.notOk([...state.sessions].includes(second))
  t.same(browserErrors, [])
})

test('closing a session that ended before the click', async t => {
  const state = makeState()
  const session = addSession(state, { user: 'gone_soon' })
  const { page } = await open(t, await serve(t, [state]))
  await page.getByRole('button', { name: 'Close session of gone_soon' }).click()
  session.close('SESSION_CLOSED')
  await page.getByRole('button', { name: 'Close session', exact: true }).click()
  await page.getByText('had already ended').waitFor()
  await page.getByText('No clients are connected').waitFor()
  t.equal(await page.locator('#session-rows tr').count(), 0)
})

test('sorting and the filter', async t => {
  const state = makeState()
  const traffic = (bytesFromUpstream: number) => ({ bytesFromClient: 0, bytesFromUpstream })
  addSession(state, { user: 'b', traffic: traffic(2), started: 1, program: undefined })
  addSession(state, { user: 'a', traffic: traffic(10), started: 2, program: 'Tool' })
  addSession(state, { user: 'c', traffic: traffic(1), started: 3 })
  const { page } = await open(t, await serve(t, [state]))
  const usersAre = async (...users: string[]) => {
    const shown = (expected: string[]) => {
      const cells = document.querySelectorAll('#session-rows td[data-column="User"]')
      return JSON.stringify([...cells].map(cell => cell.textContent)) === JSON.stringify(expected)
    }
    t.ok(await page.waitForFunction(shown, users), users.join())
  }
  const sortBy = async (name: string) => {
    await page.locator('#session-head').getByRole('button', { name, exact: true }).click()
    return await page.locator('[aria-sort]').getAttribute('aria-sort')
  }
  await usersAre('b', 'a', 'c')
  t.equal(await sortBy('User'), 'ascending')
  await usersAre('a', 'b', 'c')
  t.equal(await sortBy('User'), 'descending')
  await usersAre('c', 'b', 'a')
  t.equal(await sortBy('Received'), 'descending', 'numerically, largest first')
  await usersAre('a', 'b', 'c')
  t.equal(await sortBy('Program'), 'ascending')
  await usersAre('c', 'a', 'b')
  const filter = page.getByRole('searchbox', { name: 'Filter sessions' })
  await filter.fill('TOOL')
  await usersAre('a')
  await page.getByText('1 of 3 shown, 1 match').waitFor()
  await filter.fill('nobody')
  await page.getByText('No session matches the filter.').waitFor()
  await page.getByRole('button', { name: 'Clear filter' }).click()
  await usersAre('c', 'a', 'b')
  await page.locator('#status-choice').selectOption('waiting for an answer')
  await page.getByText('No session matches the filter.').waitFor()
})

test('a link shows the same: filter, sort, range and open details', async t => {
  const states = busyEndpoints()
  const admin = await serve(t, states)
  const { page } = await open(t, admin)
  await page.getByRole('button', { name: 'shop', exact: true }).click()
  await page.getByLabel('Charts of the last').selectOption('24 hours')
  await page.locator('#endpoint-choice').selectOption('shop')
  await page.locator('#session-head').getByRole('button', { name: 'Received', exact: true }).click()
  await page.getByRole('searchbox').fill('user_1')
  await page.waitForURL(/filter=user_1/)
  const url = new URL(page.url())
  t.same(Object.fromEntries(url.searchParams), {
    range: '24h',
    filter: 'user_1',
    endpoint: 'shop',
    sort: 'received',
    open: 'shop',
  })
  const { page: other } = await open(t, admin)
  await other.goto(page.url())
  await other.getByText('3 of 12 shown, 3 match').waitFor()
  t.same(await column(other, 'User'), ['user_11', 'user_10', 'user_1'])
  t.equal(await other.getByRole('searchbox').inputValue(), 'user_1')
  t.equal(await other.getByLabel('Charts of the last').inputValue(), '24h')
  t.equal(await other.locator('#endpoint-choice').inputValue(), 'shop')
  t.ok(await endpointOf(other, 'shop').locator('.charts').isVisible())
  t.notOk(await endpointOf(other, 'database-2').locator('.charts').isVisible())
})

test('where every login fails, the row, the title and the icon say so', async t => {
  const state = makeState({ name: 'shop', outcomes: new Map([['OK', 9]]) })
  const { page, browserErrors } = await open(t, await serve(t, [state]))
  await page.getByText('Ready', { exact: true }).waitFor()
  const icon = await page.locator('#icon').getAttribute('href')
  for (let i = 0; i < 3; i++) countOutcome(state, 'TLS_WRONG_NAME')
  const row = page.getByRole('row', { name: 'shop Every login fails' })
  await row.waitFor()
  t.equal(await page.title(), 'Every login fails: shop · mysql-iam-proxy')
  t.equal(await page.locator('#state').innerText(), 'Every login fails: shop')
  t.equal(await page.locator('#state').getAttribute('data-level'), 'bad')
  t.not(await page.locator('#icon').getAttribute('href'), icon)
  await page.getByText(/^Every login fails \(3 in a row\): TLS_WRONG_NAME, since \d\d:\d\d:\d\d\.$/).waitFor()
  await page.getByRole('button', { name: /^Copy the command mysql-iam-proxy check --rds-endpoint/ }).click()
  await page.getByText(/^(Copied|Selected)/).waitFor()
  await page.locator('.bar.bad[d*="V"]').waitFor({ state: 'attached' })
  await page.getByText('Failed logins: TLS_WRONG_NAME 3', { exact: true }).waitFor()
  t.same(await axe(page), [])
  countOutcome(state, 'OK')
  await page.getByText('Ready. Some logins fail: shop').waitFor()
  t.same(browserErrors, [])
})

test('compression: what new sessions get and why, and what it has saved', async t => {
  const compression = { setting: 'auto', next: 'zstd', why: 'greetings take 38 ms or more', roundTrip: 38 } as const
  const states = [
    makeState({
      name: 'far',
      ended: { bytesFromClient: 100_000, bytesFromUpstream: 9_900_000 },
      endedOnLine: { bytesFromClient: 100_000, bytesFromUpstream: 3_900_000 },
      compression: () => ({ ...compression, bytesPerSecond: 2_500_000 }),
    }),
    makeState({ name: 'near' }),
  ]
  const { page } = await open(t, await serve(t, states))
  for (const { name } of states) await page.getByRole('button', { name, exact: true }).click()
  const rowOf = (name: string) => endpointOf(page, name).locator('[data-at="compression-row"]')
  await rowOf('far').waitFor()
  t.equal(
    await rowOf('far').locator('dd').innerText(),
    'auto: zstd; greetings take 38 ms or more; a session got up to 2.5 MB/s in the last hour; 4.0 MB over the line instead of 10.0 MB',
  )
  t.notOk(await rowOf('near').isVisible(), 'without the option')
})

test('a sign-in that logins wait for has a link', async t => {
  const state = makeState({ name: 'shop', credentialsFailed: true })
  const url = 'https://oidc.us-east-1.amazonaws.com/authorize?response_type=code&state=s'
  state.signIn = { what: 'Sign in to https://example.awsapps.com/start', url, code: 'ABCD-EFGH', since: Date.now() }
  const { page, browserErrors } = await open(t, await serve(t, [state]))
  await page.getByRole('row', { name: 'shop Sign-in needed' }).waitFor()
  const link = page.getByRole('link', { name: url })
  t.equal(await link.getAttribute('href'), url)
  t.equal(await link.getAttribute('rel'), 'noopener noreferrer')
  await page.getByText('Check that the page shows the code ABCD-EFGH.').waitFor()
  t.same(await axe(page), [])
  state.signIn = { ...state.signIn, url: 'javascript:alert(1)' }
  await link.waitFor({ state: 'detached' })
  t.equal(await page.getByRole('link', { name: /alert/ }).count(), 0, 'no other kind of address')
  t.same(browserErrors, [])
})

test('50 sessions, and then more', async t => {
  const state = makeState()
  for (let i = 0; i < 120; i++) addSession(state, { user: `user_${i % 2}` })
  const { page } = await open(t, await serve(t, [state]))
  await page.getByText('50 of 120 shown').waitFor()
  await page.getByRole('button', { name: 'Show 50 more' }).click()
  await page.getByText('100 of 120 shown').waitFor()
  await page.getByRole('button', { name: 'Show 20 more' }).click()
  await page.waitForFunction(() => document.querySelectorAll('#session-rows tr').length === 120)
  t.notOk(await page.getByRole('button', { name: /more$/ }).isVisible())
})

test('closing all sessions of a filter', async t => {
  const state = makeState()
  for (let i = 0; i < 120; i++) addSession(state, { user: i % 2 ? 'app' : 'batch' })
  const { page } = await open(t, await serve(t, [state]))
  await page.getByText('50 of 120 shown').waitFor()
  const closeAll = page.getByRole('button', { name: /^Close all/ })
  t.notOk(await closeAll.isVisible(), 'not without a filter')
  await page.getByRole('searchbox').fill('app')
  await page.getByRole('button', { name: 'Close all 60 that match' }).click()
  await page.getByRole('heading', { name: 'Close 60 sessions?' }).waitFor()
  t.equal(await page.locator('#confirm-who').innerText(), 'All with filter: app')
  await page.keyboard.press('Escape')
  t.equal(state.sessions.size, 120)
  await closeAll.click()
  await page.getByRole('button', { name: 'Close 60 sessions' }).click()
  await page.getByText('Closed 60 sessions.').waitFor()
  t.equal(state.sessions.size, 60)
  t.ok([...state.sessions].every(({ user }) => user === 'batch'))
})

test('rows stay in place while one of them has the focus', async t => {
  const state = makeState()
  const slow = addSession(state, { user: 'slow', started: 1 })
  const fast = addSession(state, { user: 'fast', started: 2, traffic: { bytesFromClient: 0, bytesFromUpstream: 9 } })
  const { page } = await open(t, await serve(t, [state]))
  await page.getByText('slow').waitFor()
  await page.locator('#session-head').getByRole('button', { name: 'Received', exact: true }).click()
  await page.waitForFunction(() => document.querySelector('#session-rows td')?.textContent === 'fast')
  await page.getByRole('button', { name: 'Close session of fast' }).focus()
  slow.traffic.bytesFromUpstream = 7_000
  await page.getByText('7.0 kB').first().waitFor()
  t.same(await column(page, 'User'), ['fast', 'slow'])
  await page.getByRole('searchbox').focus()
  await page.waitForFunction(() => document.querySelector('#session-rows td')?.textContent === 'slow', undefined)
  t.equal(state.sessions.has(fast), true)
})

test('the token form', async t => {
  const admin = await serve(t, [makeState({ name: 'secret-name' })], TOKEN)
  const { page, browserErrors } = await open(t, admin)
  const input = page.getByLabel('Admin token')
  await input.waitFor()
  t.notMatch(await page.content(), 'secret-name')
  t.equal(await input.getAttribute('type'), 'password')
  t.same(await axe(page), [])
  await page.keyboard.type('wrong')
  await page.keyboard.press('Enter')
  await page.getByText('did not accept this token').waitFor()
  await page.keyboard.type(TOKEN)
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'secret-name' }).waitFor()
  t.notOk(await input.isVisible())
  t.notMatch(page.url(), TOKEN)
  t.notMatch(await page.content(), TOKEN)
  t.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0)
  await page.reload()
  await page.getByRole('button', { name: 'secret-name' }).waitFor()
  await page.getByRole('button', { name: 'Forget token' }).click()
  await input.waitFor()
  t.equal(await page.evaluate(() => sessionStorage.length), 0)
  t.same(
    browserErrors.filter(text => !text.includes('401')),
    [],
  )
})

test('a proxy that restarts', async t => {
  const states = [makeState()]
  const admin = await serve(t, states)
  const { page } = await open(t, admin)
  await page.getByText('Ready', { exact: true }).waitFor()
  await admin.close()
  await page.getByText(/^Unreachable since \d\d:\d\d:\d\d\./).waitFor()
  t.match(await page.title(), 'Unreachable')
  t.ok(
    await page.getByRole('button', { name: 'database-1', exact: true }).isVisible(),
    'the page keeps the last status',
  )
  await serve(t, states, undefined, admin.address?.port)
  await page.getByText('Ready', { exact: true }).waitFor()
  t.notOk(await page.getByText('Unreachable').isVisible())
})

test('a new proxy without sessions or errors', async t => {
  const { page, browserErrors } = await open(t, await serve(t, [makeState({ address: '[::1]:3307' })]))
  await page.getByText('No clients are connected. Try: mysql -h ::1 -P 3307 -u USER').waitFor()
  const text = await page.locator('body').innerText()
  for (const part of [
    'No errors since the proxy started',
    'No logins in the last',
    'unknown until the first login',
    'no limit',
  ]) {
    t.ok(text.includes(part), part)
  }
  t.notOk(await page.getByRole('searchbox').isVisible())
  t.notOk(await page.locator('meter').isVisible())
  const { page: empty } = await open(t, await serve(t, []))
  await empty.getByText('No endpoint is configured.').waitFor()
  t.same(browserErrors, [])
})

test('the name of an RDS endpoint is shortened where the result is unique', async t => {
  const named = (name: string) => {
    const state = makeState({ name })
    return { ...state, endpoint: { ...state.endpoint, rds: { ...state.endpoint.rds, host: name } } }
  }
  const heads = async (...names: string[]) => {
    const { page } = await open(t, await serve(t, names.map(named)))
    await page.locator('[data-at="name"]').first().waitFor()
    return await page.locator('[data-at="name"]').allTextContents()
  }
  t.same(await heads('shop.x.eu-west-1.example', 'mail.x.eu-west-1.example'), ['shop', 'mail'])
  t.same(await heads('shop.x.example', 'shop.y.example'), ['shop.x.example', 'shop.y.example'])
})

test('a retired endpoint stays on the page until its last session ends', async t => {
  const old = makeState({ name: 'shop', retired: true })
  const session = addSession(old, { user: 'from_before' })
  const states = [makeState({ name: 'shop', address: '127.0.0.1:3307' }), old]
  const { page } = await open(t, await serve(t, states))
  await page.getByText('Closing').waitFor()
  t.same(await page.locator('[data-at="name"]').allTextContents(), ['shop', 'shop'])
  t.same(await page.locator('[data-at="open"]').allTextContents(), ['0', '1'])
  await page.getByRole('button', { name: 'shop', exact: true }).first().click()
  await page.getByText('no longer listening; its last sessions are still open').waitFor()
  session.close('SESSION_CLOSED')
  states.pop()
  await page.getByText('no longer listening').waitFor({ state: 'detached' })
  t.same(await page.locator('[data-at="name"]').allTextContents(), ['shop'])
})

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [360, 900, 1280]) {
    test(`${colorScheme}, ${width} pixels wide`, async t => {
      const admin = await serve(t, busyEndpoints())
      const { page } = await open(t, admin, { colorScheme, viewport: { width, height: 800 } })
      await page.getByText('user_11').waitFor()
      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
      const [red = 0] = background.match(/\d+/g)?.map(Number) ?? []
      t.ok(colorScheme === 'dark' ? red < 60 : red > 200, background)
      t.equal(await overflow(page), 0, 'no sideways scrolling')
      await page.getByRole('button', { name: 'shop', exact: true }).click()
      await endpointOf(page, 'shop').locator('.expiries li').first().waitFor()
      t.equal(await overflow(page), 0, 'nor with open details')
      if (width !== 900) t.same(await axe(page), [])
      await page
        .getByRole('button', { name: /^Close session of/ })
        .first()
        .click()
      t.equal(await overflow(page), 0)
      if (width === 360) t.same(await axe(page), [], 'with the dialog open')
      await page.keyboard.press('Escape')
      if (width === 360) {
        await page.getByLabel('Sort by').selectOption('User')
        const isFirst = () => document.querySelector('#session-rows td')?.textContent === 'user_0'
        t.ok(await page.waitForFunction(isFirst), 'the select replaces the column heads')
      }
    })
  }
}

test('on paper: light, with the endpoints, errors and sessions, and nothing to click', async t => {
  const { page } = await open(t, await serve(t, busyEndpoints()), { colorScheme: 'dark' })
  await page.getByText('user_11').waitFor()
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
  t.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)')
  t.ok(await page.getByText('user_11').isVisible())
  t.ok(await page.getByText('no answer from my-nlb:3306').isVisible())
  t.notOk(await page.getByRole('searchbox').isVisible())
  t.equal(await page.getByRole('button', { name: /^(Close|Copy)/ }).count(), 0)
})

test('reduced motion', async t => {
  const duration = async (reducedMotion: 'reduce' | 'no-preference') => {
    const { page } = await open(t, await serve(t, [makeState()]), { reducedMotion })
    return await page.evaluate(() => getComputedStyle(document.querySelector('#content')!).transitionDuration)
  }
  t.equal(await duration('reduce'), '0s')
  t.not(await duration('no-preference'), '0s')
})

test('the browser closes', async t => {
  await browser.close()
  t.notOk(browser.isConnected())
})
