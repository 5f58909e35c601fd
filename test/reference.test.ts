import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { errorsPage } from '../docs/make-errors.ts'
import { manPage } from '../docs/make-man.ts'
import { reference } from '../docs/make-reference.ts'

test('docs/reference.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/reference.md', import.meta.url), 'utf8'), reference())
})

test('docs/errors.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8'), errorsPage())
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
