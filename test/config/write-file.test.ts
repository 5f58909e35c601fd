/** Writing the configuration file: whole or not at all, and by one process at a time. */
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { replaceFile } from '../../src/config/write-file.ts'

test('of many that write at once, one does, and the others say so', async t => {
  for (const before of [undefined, 'old']) {
    const path = join(t.testdir(before === undefined ? {} : { 'config.yaml': before }), 'config.yaml')
    const texts = Array.from({ length: 20 }, (_, index) => `text ${index}`)
    const results = await Promise.allSettled(texts.map(text => replaceFile(path, before, text)))
    const written = texts.filter((_text, index) => results[index]!.status === 'fulfilled')
    t.same(written, [readFileSync(path, 'utf8')])
    for (const result of results) {
      if (result.status === 'fulfilled') continue
      t.match(result.reason, { code: 'CONFIG_INVALID', message: /so nothing was written/ })
    }
    t.same(readdirSync(join(path, '..')), ['config.yaml'], 'nothing else is left')
  }
})

test('a process that was killed while it wrote', async t => {
  const path = join(t.testdir({ 'config.yaml': 'old', '.config.yaml.lock': 'ne' }), 'config.yaml')
  await t.rejects(replaceFile(path, 'old', 'new'), {
    message: `another process is writing ${path}, so nothing was written`,
    hint: /If no other add or remove is running, delete .*\.config\.yaml\.lock\.$/,
  })
  t.equal(readFileSync(path, 'utf8'), 'old')
})

test('a link stays, and the file behind it is removed or replaced', async t => {
  const folder = t.testdir({ 'real.yaml': 'old' })
  const path = join(folder, 'config.yaml')
  symlinkSync('real.yaml', path)
  await replaceFile(path, 'old', 'new')
  t.equal(readFileSync(join(folder, 'real.yaml'), 'utf8'), 'new')
  t.equal(readFileSync(path, 'utf8'), 'new')
  t.same(readdirSync(folder).sort(), ['config.yaml', 'real.yaml'])
})

test('a new file is only for its user, and an old one can be removed', async t => {
  const path = join(t.testdir(), 'a', 'b', 'config.yaml')
  await replaceFile(path, undefined, 'new')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
  writeFileSync(path, 'changed')
  await t.rejects(replaceFile(path, 'new', undefined), { message: /has changed meanwhile/ })
  t.ok(existsSync(path))
  await replaceFile(path, 'changed', undefined)
  t.same(readdirSync(join(path, '..')), [])
})
