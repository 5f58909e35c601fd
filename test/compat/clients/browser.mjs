/**
 * phpMyAdmin and Adminer in a headless Chromium. The first argument names one. By their forms: logging in, the SQL
 * box (in phpMyAdmin its text is set by its editor's API), editing a row. The pages with these forms are opened by
 * their addresses, not by clicking through the menus, but for the link "edit" of a row.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import { runSteps, Unsupported } from './steps.mjs'

const name = process.argv[2]
const { targets } = JSON.parse(process.env.COMPAT)
const home = mkdtempSync(join(tmpdir(), `compat-${name}-`))
process.on('exit', () => rmSync(home, { recursive: true, force: true }))
// What is typed into a form, and shown on one page.
const MOST = 100_000

/** What the page says is wrong. */
class PageError extends Error {}

const tool = { phpmyadmin, adminer }[name]()
const base = await servePhp(tool.root)
const executablePath = `/usr/bin/${process.env.COMPAT_CHROMIUM}`
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })

await runSteps({
  version: process.env.COMPAT_VERSION,
  error(error) {
    const [, errno, message] = /\(?#?(?:HY000\/)?(\d{4,5})(?:\)?:| -) (.*)/.exec(error.message) ?? []
    return error instanceof PageError && errno ? [Number(errno), '', message.trim()] : [0, '', firstLine(error)]
  },
  async connect(target, { compress, localInfile, multi }) {
    if (compress || localInfile) throw new Unsupported('not a setting of its forms')
    if (multi && !tool.showsAll) throw new Unsupported('shows the last result alone')
    const context = await browser.newContext()
    // Nothing is asked of other hosts: whether there is a new version.
    await context.route(
      url => url.origin !== base,
      route => route.abort(),
    )
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    page.on('dialog', dialog => dialog.accept())
    // Once a page is wanted: most behaviours are none of a browser's.
    let login
    const loggedIn = () => {
      login ??= tool.login(page, target)
      return login
    }
    return {
      async query(sql) {
        if (sql.length > MOST) throw new Unsupported('too much for a form')
        if (/^SELECT (REPEAT|id, word FROM numbers)/.test(sql)) throw new Unsupported('too much for a page')
        if (/^(START TRANSACTION|SET @|INSERT INTO stops)/.test(sql))
          throw new Unsupported('each page has its own connection')
        await loggedIn()
        return await tool.query(page, target, sql)
      },
      async browse(table) {
        await loggedIn()
        return await tool.browse(page, target, table)
      },
      async edit(table, text) {
        await loggedIn()
        await tool.edit(page, target, table, text)
      },
      close: () => context.close(),
    }
  },
})

function adminer() {
  const tls = targets['local TLS']
  const own = `<?php
function adminer_object() {
  class Compat extends Adminer {
    function login($login, $password) { return true; }
    function connectSsl() { return SERVER === getenv('COMPAT_TLS') ? array('ca' => getenv('COMPAT_CA')) : null; }
  }
  return new Compat;
}
include '${process.env.COMPAT_DIRECTORY}/adminer.php';
`
  writeFileSync(join(home, 'index.php'), own)
  const serverOf = ({ host, port, socket }) => (socket ? `:${socket}` : `${host}:${port}`)
  const url = (target, more) =>
    `${base}/?${new URLSearchParams({
      server: serverOf(target),
      username: target.user,
      ...(target.database ? { db: target.database } : {}),
      ...more,
    })}`
  const failIfWrong = async page => {
    const error = page.locator('#content .error')
    if (await error.count()) throw new PageError(await error.first().innerText())
  }
  return {
    root: home,
    env: tls ? { COMPAT_TLS: serverOf(tls), COMPAT_CA: tls.cafile } : {},
    showsAll: true,
    async login(page, target) {
      await page.goto(`${base}/`)
      await page.fill('[name="auth[server]"]', serverOf(target))
      await page.fill('[name="auth[username]"]', target.user)
      await page.fill('[name="auth[password]"]', target.password)
      await page.fill('[name="auth[db]"]', target.database ?? '')
      await page.click('input[type=submit]')
      await page.locator('#logout, .error').first().waitFor()
      await failIfWrong(page)
    },
    async query(page, target, sql) {
      await page.goto(url(target, { sql }))
      await page.click('#form input[type=submit][value=Execute]')
      await page
        .locator('#content')
        .getByText(/row\(s\) affected|\d+ rows?\b|Error in query|No commands/)
        .first()
        .waitFor()
      // Of several results, the first is there before the others.
      await page.waitForLoadState()
      await failIfWrong(page)
      return await page.evaluate(() =>
        [...document.querySelectorAll('#content table:not(.hidden table):not(#form table)')].map(table =>
          [...table.querySelectorAll('tbody tr, table > tr')].map(row => [...row.cells].map(cell => cell.textContent)),
        ),
      )
    },
    async browse(page, target, table) {
      await page.goto(url(target, { select: table }))
      await page.locator('#table').waitFor()
      await failIfWrong(page)
      return await page.evaluate(() =>
        [...document.querySelectorAll('#table tbody tr')].map(row =>
          [...row.cells].slice(1).map(cell => cell.textContent),
        ),
      )
    },
    async edit(page, target, table, text) {
      await page.goto(url(target, { select: table }))
      await page.locator('#table tbody').getByRole('link', { name: 'edit' }).first().click()
      await page.locator('[name^="fields["]').last().fill(text)
      await page.locator('#form input[type=submit][value=Save]').click()
      await page.locator('.message, .error').first().waitFor()
      await failIfWrong(page)
    },
  }
}

function phpmyadmin() {
  const routes = Object.keys(targets)
  const php = value => `'${String(value).replace(/[\\']/g, '\\$&')}'`
  const servers = routes.map((route, i) => {
    const { host, port, socket, cafile } = targets[route]
    const settings = { auth_type: 'cookie', AllowNoPassword: true, verbose: route }
    if (socket) Object.assign(settings, { host: 'localhost', socket })
    else Object.assign(settings, { host, port: String(port) })
    if (cafile) Object.assign(settings, { ssl: true, ssl_ca: cafile, ssl_verify: true })
    return Object.entries(settings).map(
      ([key, value]) => `$cfg['Servers'][${i + 1}]['${key}'] = ${value === true ? 'true' : php(value)};`,
    )
  })
  const config = `<?php
$cfg['blowfish_secret'] = '${'compat'.repeat(6).slice(0, 32)}';
$cfg['ServerDefault'] = 0;
$cfg['Confirm'] = false;
$cfg['LimitChars'] = 1000;
$cfg['VersionCheck'] = false;
$cfg['SendErrorReports'] = 'never';
$cfg['PmaNoRelation_DisableWarning'] = true;
$cfg['TempDir'] = '${home}';
${servers.flat().join('\n')}
`
  writeFileSync(join(home, 'config.inc.php'), config)
  const serverOf = target =>
    1 + routes.findIndex(route => targets[route].port === target.port && targets[route].socket === target.socket)
  const url = (target, route, more = {}) =>
    `${base}/index.php?${new URLSearchParams({
      route,
      server: serverOf(target),
      ...(target.database ? { db: target.database } : {}),
      ...more,
    })}`
  const failIfWrong = async page => {
    const error = page.locator('.alert-danger:visible')
    if ((await error.count()) === 0) return
    const code = error.locator('code')
    throw new PageError((await code.count()) ? await code.last().innerText() : (await error.allInnerTexts()).join('\n'))
  }
  const rowsOf = page =>
    page.evaluate(() =>
      [...document.querySelectorAll('table.table_results')].map(table =>
        [...table.querySelectorAll('tbody tr')].map(row =>
          [...row.querySelectorAll('td.data')].map(cell => cell.textContent.trim()),
        ),
      ),
    )
  return {
    root: process.env.COMPAT_DIRECTORY,
    env: {},
    async login(page, target) {
      await page.goto(`${base}/index.php?server=${serverOf(target)}`)
      const choice = page.locator('#select_server')
      if (await choice.count()) await choice.selectOption(String(serverOf(target)))
      await page.fill('#input_username', target.user)
      await page.fill('#input_password', target.password)
      await page.click('#input_go')
      await page.locator('#server-breadcrumb:visible, .alert-danger:visible').first().waitFor()
      await failIfWrong(page)
    },
    async query(page, target, sql) {
      await page.goto(url(target, target.database ? '/database/sql' : '/server/sql'))
      // Of a database that there is not, it only shows its first page.
      if (!new URL(page.url()).searchParams.get('route')?.endsWith('/sql'))
        throw new PageError('its first page is shown, and no error')
      await page.locator('#queryfieldscontainer .CodeMirror').first().waitFor()
      await page.evaluate(
        text => document.querySelector('#queryfieldscontainer .CodeMirror').CodeMirror.setValue(text),
        sql,
      )
      const answer = page.waitForResponse(
        response => /import/.test(response.url()) && response.request().method() === 'POST',
      )
      await page.click('#button_submit_query')
      await answer
      await page
        .locator('.result_query:visible, table.table_results:visible, .alert-danger:visible, .alert-success:visible')
        .first()
        .waitFor()
      await failIfWrong(page)
      return await rowsOf(page)
    },
    async browse(page, target, table) {
      await page.goto(url(target, '/sql', { table, pos: '0' }))
      await page.locator('table.table_results').waitFor()
      return (await rowsOf(page))[0]
    },
    async edit(page, target, table, text) {
      await page.goto(url(target, '/sql', { table, pos: '0' }))
      await page.locator('.edit_row_anchor a').first().click()
      await page.locator('[name^="fields[multi_edit]"]:visible').last().fill(text)
      const answer = page.waitForResponse(response => /replace/.test(response.url()))
      await page.locator('#buttonYes').click()
      await answer
      // Then it goes back to the table, where the news of it may have gone again.
      await page.locator('.alert-danger:visible, .alert-success:visible, table.table_results:visible').first().waitFor()
      await failIfWrong(page)
    },
  }
}

/** Playwright adds a log, with colours, of what it waited for. */
function firstLine({ message }) {
  return message.split('\n', 1)[0]
}

/** @returns the address */
async function servePhp(root) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  // Adminer counts failed logins in a file there, and refuses more after 30.
  const settings = ['-d', `session.save_path=${home}`, '-d', `upload_tmp_dir=${home}`, '-d', 'memory_limit=512M']
  const child = spawn('php', [...settings, '-S', `127.0.0.1:${port}`, '-t', root], {
    stdio: 'ignore',
    env: { ...process.env, ...tool.env, COMPAT: '', COMPAT_HOME: home, PHP_CLI_SERVER_WORKERS: '4' },
  })
  // Its workers are in the group that client-run.ts ends.
  process.on('exit', () => child.kill())
  const origin = `http://127.0.0.1:${port}`
  for (let i = 0; i < 200; i++) {
    try {
      await fetch(`${origin}/favicon.ico`)
      return origin
    } catch {
      await sleep(50)
    }
  }
  throw new Error('php -S does not answer')
}
