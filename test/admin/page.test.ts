/** The status page, in a real browser. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { type Test, test } from 'tap'
import { type Admin, startAdmin } from '../../src/admin/server.ts'
import { silent } from '../../src/log.ts'
import type { EndpointState } from '../../src/state.ts'
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

async function open(t: Test, admin: Admin, options: BrowserContextOptions = {}): Promise<Shown> {
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
  await page.goto(`http://127.0.0.1:${admin.address?.port}/`)
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
    localCertificateExpires: now + 300 * DAY,
    rolesAnywhereCertificateExpires: now + 20.5 * HOUR,
  })
  const other = makeState({ name: 'database-2', address: '127.0.0.1:3307', credentialsFailed: true })
  const programs = ['DBeaver', 'mysql', undefined, 'a-very-long-name-of-some-connector/12.0.1-beta-20260101']
  for (let i = 0; i < 12; i++) {
    addSession(i % 4 === 0 ? other : shop, {
      user: `user_${i}`,
      client: `10.0.0.${i}`,
      program: programs[i % 4],
      since: now - i * HOUR,
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
  for (let i = 0; i < 3; i++) {
    shop.recentErrors.push({ at: now - i, code: 'DIAL_TIMEOUT', message: 'no answer from my-nlb:3306', ...error })
  }
  return [shop, other]
}

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

test('the page shows the status, without browser errors', async t => {
  const states = busyEndpoints()
  const admin = await serve(t, states)
  states[0].onPhase?.('total', 12)
  const { page, browserErrors } = await open(t, admin)
  await page.getByRole('heading', { name: 'shop' }).waitFor()
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
  t.match(await page.locator('.endpoint').first().locator('svg').first().getAttribute('aria-label'), /median 12 ms/)
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
    const line = page.getByRole('region', { name: level }).locator('.expiries li').first()
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
  state.onPhase?.('total', 42)
  await page.getByText('median 42 ms').waitFor()
  await page.locator('.dot[d*="h0"]').waitFor({ state: 'attached' })
  await page.locator('.line.server').waitFor({ state: 'attached' })
  session.close('SESSION_CLOSED')
  await row.waitFor({ state: 'detached' })
  state.recentErrors.push({
    at: Date.now(),
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
  state.recentErrors.push({ at: 1, code: 'INTERNAL', message: EVIL, hint: EVIL, ...who })
  const other = makeState({ name: 'x', endpoint: { ...state.endpoint, user: EVIL } })
  const { page, browserErrors } = await open(t, await serve(t, [state, other]))
  await page.locator('#session-rows tr').waitFor()
  t.same(await column(page, 'User'), [EVIL])
  t.equal(await page.locator('img').count(), 0)
  t.equal(await page.locator('h2[data-at="name"]').first().textContent(), EVIL)
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
  const first = addSession(state, { user: 'first', since: 1_000 })
  const second = addSession(state, { user: 'second', since: 2_000 })
  const { page, browserErrors } = await open(t, await serve(t, [state]))
  await page.getByText('second').waitFor()
  const focused = () =>
    page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent)

  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Skip to the sessions')
  await page.keyboard.press('Enter')
  for (let i = 0; i < 20 && !/session of second/.test((await focused()) ?? ''); i++) await page.keyboard.press('Tab')
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
  addSession(state, { user: 'b', traffic: traffic(2), since: 1, program: undefined })
  addSession(state, { user: 'a', traffic: traffic(10), since: 2, program: 'Tool' })
  addSession(state, { user: 'c', traffic: traffic(1), since: 3 })
  const { page } = await open(t, await serve(t, [state]))
  const sortBy = async (name: string) => {
    await page.getByRole('button', { name, exact: true }).click()
    return { users: await column(page, 'User'), sort: await page.locator('[aria-sort]').getAttribute('aria-sort') }
  }
  await page.locator('#session-rows tr').nth(2).waitFor()
  t.same(await column(page, 'User'), ['b', 'a', 'c'])
  t.same(await sortBy('User'), { users: ['a', 'b', 'c'], sort: 'ascending' })
  t.same(await sortBy('User'), { users: ['c', 'b', 'a'], sort: 'descending' })
  t.same(await sortBy('Received'), { users: ['a', 'b', 'c'], sort: 'descending' }, 'numerically, largest first')
  t.same(await sortBy('Program'), { users: ['c', 'a', 'b'], sort: 'ascending' }, 'rows without a value are last')
  const filter = page.getByRole('searchbox', { name: 'Filter sessions' })
  await filter.fill('TOOL')
  t.same(await column(page, 'User'), ['a'])
  await page.getByText('1 of 3 shown').waitFor()
  await filter.fill('nobody')
  await page.getByText('No session matches “nobody”.').waitFor()
  await filter.fill('')
  t.equal((await column(page, 'User')).length, 3)
})

test('rows stay in place while one of them has the focus', async t => {
  const state = makeState()
  const slow = addSession(state, { user: 'slow', since: 1 })
  const fast = addSession(state, { user: 'fast', since: 2, traffic: { bytesFromClient: 0, bytesFromUpstream: 9 } })
  const { page } = await open(t, await serve(t, [state]))
  await page.getByText('slow').waitFor()
  await page.getByRole('button', { name: 'Received', exact: true }).click()
  t.same(await column(page, 'User'), ['fast', 'slow'])
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
  await page.getByRole('heading', { name: 'secret-name' }).waitFor()
  t.notOk(await input.isVisible())
  t.notMatch(page.url(), TOKEN)
  t.notMatch(await page.content(), TOKEN)
  t.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0)
  await page.reload()
  await page.getByRole('heading', { name: 'secret-name' }).waitFor()
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
  t.ok(await page.getByRole('heading', { name: 'database-1' }).isVisible(), 'the page keeps the last status')
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
    await page.locator('.endpoint h2').first().waitFor()
    return await page.locator('.endpoint h2').allTextContents()
  }
  t.same(await heads('shop.x.eu-west-1.example', 'mail.x.eu-west-1.example'), ['shop', 'mail'])
  t.same(await heads('shop.x.example', 'shop.y.example'), ['shop.x.example', 'shop.y.example'])
})

test('a retired endpoint stays on the page until its last session ends', async t => {
  const old = makeState({ name: 'shop', retired: true })
  const session = addSession(old, { user: 'from_before' })
  const states = [makeState({ name: 'shop', address: '127.0.0.1:3307' }), old]
  const { page } = await open(t, await serve(t, states))
  await page.getByText('no longer listening; its last sessions are still open').waitFor()
  t.same(await page.locator('.endpoint h2').allTextContents(), ['shop', 'shop'])
  t.same(await page.locator('[data-at="open"]').allTextContents(), ['0', '1'])
  session.close('SESSION_CLOSED')
  states.pop()
  await page.getByText('no longer listening').waitFor({ state: 'detached' })
  t.same(await page.locator('.endpoint h2').allTextContents(), ['shop'])
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
        t.equal((await column(page, 'User'))[0], 'user_0', 'the select replaces the column heads')
      }
    })
  }
}

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
