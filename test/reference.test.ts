import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { errorsPage } from '../docs/make-errors.ts'
import { reference } from '../docs/make-reference.ts'

test('docs/reference.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/reference.md', import.meta.url), 'utf8'), reference())
})

test('docs/errors.md is up to date (npm run docs)', async t => {
  t.equal(await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8'), errorsPage())
})
