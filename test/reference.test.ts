import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { errorsPage } from '../docs/make-errors.ts'
import { guides } from '../docs/make-guides.ts'
import { libraryApi } from '../docs/make-library-api.ts'
import { manPage } from '../docs/make-man.ts'
import { reference } from '../docs/make-reference.ts'

test('docs/reference.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/reference.md', import.meta.url), 'utf8'), reference())
})

test('docs/errors.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8'), errorsPage())
})

test('docs/library-guides.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/library-guides.md', import.meta.url), 'utf8'), guides())
})

test('docs/library-api.md is up to date (npm run docs), and explains every option', async t => {
  const page = libraryApi()
  t.equal(await readFile(new URL('../docs/library-api.md', import.meta.url), 'utf8'), page)
  const options = page.split('#### ProxyOptions')[1]!.split('####')[0]!
  const rows = options.split('\n').filter(line => /^\| `\w+\??` \|/.test(line))
  t.ok(rows.length > 25, `${rows.length} options`)
  for (const row of rows) t.match(row, /\| [A-Z'`].* \|$/, `${row.split('|')[1]}`)
})

test('docs/mysql-iam-proxy.1 is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/mysql-iam-proxy.1', import.meta.url), 'utf8'), manPage())
})

test('the manual page is ASCII, and roff takes no text for a command or an escape', async t => {
  const page = manPage()
  t.match(page, /^[\n -~]*$/)
  const lines = page.split('\n')
  for (const line of lines.filter(line => line.startsWith('.') && !line.startsWith('.\\"'))) {
    t.match(line, /^\.(TH|nh|ad|SH|SS|TP|PP|EX|EE|RS|RE|BR|br)( |$)/)
  }
  t.same(
    lines.filter(line => line.startsWith("'")),
    [],
  )
  const escapes = new Set(
    [...page.replace(/^\.\\".*$/m, '').matchAll(/\\(\([a-z]{2}|f[A-Z]|\[u[0-9A-F]{4}\]|.)/g)].map(([all]) => all),
  )
  const known = ['\\-', '\\:', '\\fB', '\\fI', '\\fR', '\\e', '\\&', '\\(aq', '\\(ga', '\\(dq', '\\(ha', '\\(ti']
  t.same(
    [...escapes].filter(used => !known.includes(used) && !used.startsWith('\\[u')),
    [],
  )
})
