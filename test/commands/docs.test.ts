import { test } from 'tap'
import { docs } from '../../src/commands/docs.ts'

test('a page, by the names that other texts have for it', t => {
  const page = docs('configuration')
  t.match(page, /^# Configuration/)
  for (const name of ['Configuration', 'configuration.md', 'docs/configuration.md#reload'])
    t.equal(docs(name), page, name)
  t.match(docs('clients/dbeaver'), /^# DBeaver/)
  t.match(docs('docs/clients/README.md'), /^# /)
  t.match(docs('license'), /MIT License/)
  t.end()
})

test('the list has each page with its title', t => {
  const lines = docs(undefined).split('\n')
  t.match(lines[0], /^readme +mysql-iam-proxy$/)
  t.ok(lines.some(line => /^clients\/dbeaver +DBeaver/.test(line)))
  t.ok(lines.some(line => /^errors +\w/.test(line)))
  t.end()
})

test('an unknown page is an error that names the nearest one', t => {
  t.throws(() => docs('configuraton'), {
    code: 'CONFIG_INVALID',
    message: /^there is no page configuraton; did you mean configuration\?/,
  })
  t.throws(() => docs('../package.json'), { message: /^there is no page/ })
  t.end()
})
