import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { hasBrowser, openBrowser, openerFor } from '../../src/sign-in/browser.ts'
import { until } from '../support/proxy.ts'

test('where a browser can be opened', async t => {
  const linux = (environment: NodeJS.ProcessEnv, kernel = '6.1.0-amd64') => hasBrowser(environment, 'linux', kernel)
  t.equal(linux({ DISPLAY: ':0' }), true)
  t.equal(linux({ WAYLAND_DISPLAY: 'wayland-0' }), true)
  t.equal(linux({}), false)
  t.equal(linux({ DISPLAY: ':0' }, '5.15.167.4-microsoft-standard-WSL2'), false)
  for (const variable of ['SSH_CONNECTION', 'SSH_TTY', 'SSH_CLIENT']) {
    t.equal(linux({ DISPLAY: 'localhost:10.0', [variable]: 'x' }), false, variable)
    t.equal(hasBrowser({ [variable]: 'x' }, 'darwin', '24.0.0'), false, variable)
  }
  t.equal(hasBrowser({}, 'darwin', '24.0.0'), true)
  t.equal(hasBrowser({}, 'win32', '10.0.22631'), true)
})

test('the program that opens an address gets it as one argument', async t => {
  const url = 'https://oidc.us-east-1.amazonaws.com/authorize?a=1&b=$(x)'
  t.same(openerFor(url, 'darwin'), ['open', [url]])
  t.same(openerFor(url, 'win32'), ['rundll32', ['url.dll,FileProtocolHandler', url]])
  t.same(openerFor(url, 'linux'), ['xdg-open', [url]])
})

test('only an address of the web is opened, and a missing program is no error', async t => {
  const folder = t.testdir({})
  const file = join(folder, 'opened')
  for (const program of ['xdg-open', 'open']) {
    writeFileSync(join(folder, program), `#!/bin/sh\necho "$1" >>'${file}'\n`)
    chmodSync(join(folder, program), 0o755)
  }
  const environment = { PATH: `${folder}:/usr/bin:/bin` }
  openBrowser('file:///etc/passwd', environment)
  openBrowser('--help', environment)
  openBrowser('https://example.com/?a=1&b=2', environment)
  t.ok(await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n')))
  t.equal(readFileSync(file, 'utf8'), 'https://example.com/?a=1&b=2\n')
  openBrowser('https://example.com/', { PATH: '/nowhere' })
  await new Promise(resolve => setImmediate(resolve))
})
