import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { configCommand } from '../src/commands/config.ts'
import { silent } from '../src/log.ts'
import { passwordProblem, readPassword } from '../src/password-file.ts'

test('one password: with or without a line end, in any language', t => {
  for (const text of ['password', 'password\n', 'password\r\n\n', '#1password', ' spaces and # \n', 'пароль']) {
    t.equal(passwordProblem(Buffer.from(text)), undefined, text)
  }
  t.end()
})

test('content that can hardly be meant', t => {
  const cases: [bytes: Buffer | string, problem: RegExp][] = [
    ['', /first line is empty/],
    ['\npassword\n', /first line is empty/],
    ['one\ntwo\n', /more than one line/],
    ['# for clients over TLS:\n$A$005$x\n', /more than one line/],
    ['# the password of the pool\n', /contains a comment/],
    ['#\tx', /contains a comment/],
    ['\ufeffpassword\n', /byte-order mark/],
    [Buffer.from('\ufeffpassword\n', 'utf16le'), /UTF-16/],
    [Buffer.from('\ufeffpassword\n', 'utf16le').swap16(), /UTF-16/],
    [Buffer.from('password\n', 'utf16le'), /NUL byte/],
    ['pass\0word', /NUL byte/],
    [Buffer.from('pässword', 'latin1'), /not in UTF-8/],
    ['pass\u001b[Aword', /control character/],
    ['one\rtwo\r', /control character/],
  ]
  for (const [bytes, problem] of cases) t.match(passwordProblem(Buffer.from(bytes as Buffer)), problem)
  t.end()
})

test('a file that other users can read or write gets a warning', async t => {
  const file = join(t.testdir({}), 'password')
  writeFileSync(file, 'password\n')
  const warnings: string[] = []
  const log = { ...silent, warn: (_fields: object, message: string) => warnings.push(message) }
  for (const [mode, access] of [
    [0o600, undefined],
    [0o400, undefined],
    [0o640, undefined],
    [0o644, 'read'],
    [0o604, 'read'],
    [0o660, 'write'],
    [0o602, 'write'],
  ] as const) {
    warnings.length = 0
    chmodSync(file, mode)
    t.equal(await readPassword(file, '--local-password-file', log), 'password')
    const message = `--local-password-file ${file}: other users can ${access} it; use chmod 600`
    t.same(warnings, access ? [message] : [], mode.toString(8))
  }
})

test('config check shows the warning', async t => {
  const file = join(t.testdir({}), 'password')
  writeFileSync(file, 'password\n')
  chmodSync(file, 0o644)
  const flags = {
    'rds-endpoint': 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
    'local-user': 'a',
    'local-password-file': file,
  }
  const warning = `Warning: --local-password-file ${file}: other users can read it; use chmod 600`
  t.equal(await configCommand('check', flags, {}), `${warning}\nThe configuration is good: 1 endpoint.`)
})

test('errors name the option and the file, never the content', async t => {
  const directory = t.testdir({ two: 'secret\nsecret\n' })
  const read = (name: string) => readPassword(join(directory, name), '--local-password-file', silent)
  await t.rejects(read('none'), { code: 'CONFIG_INVALID', message: /^--local-password-file .*none: ENOENT$/ })
  await t.rejects(read('two'), { code: 'CONFIG_INVALID', message: /^(?!.*secret).*two: has more than one line$/ })
})
