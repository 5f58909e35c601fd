import { execFileSync } from 'node:child_process'
import { test } from 'tap'
import { shellLine, shellLines, shellWord } from '../src/shell-quote.ts'

const TEXTS = [
  'a',
  'a b',
  "it's",
  '$HOME',
  '`x`',
  'say "x"',
  'a\\b',
  '100%',
  'a;b|c&d',
  '',
  '~',
  '*',
  'é',
  'a=b',
  '-x',
  '#',
]

test('a POSIX shell takes each word as it was', t => {
  const line = shellLine(['printf', '%s\\n', ...TEXTS], 'linux')
  t.equal(execFileSync('/bin/sh', ['-c', line], { encoding: 'utf8' }), `${TEXTS.join('\n')}\n`)
  t.equal(
    shellWord('orders.abc.eu-west-1.rds.amazonaws.com:3306', 'darwin'),
    'orders.abc.eu-west-1.rds.amazonaws.com:3306',
  )
  t.equal(shellWord("it's", 'linux'), `'it'\\''s'`)
  t.end()
})

test('Windows: double quotes where PowerShell and cmd.exe agree, else single quotes of PowerShell', t => {
  const expected: [text: string, word: string][] = [
    ['orders-1', 'orders-1'],
    ['C:\\data\\c.yaml', 'C:\\data\\c.yaml'],
    ['C:\\my data\\', '"C:\\my data\\\\"'],
    ['a b', '"a b"'],
    ["it's", `"it's"`],
    ['a&b', '"a&b"'],
    ['a,b', '"a,b"'],
    ['@a', '"@a"'],
    ['100%', '"100%"'],
    ['', '""'],
    ['$HOME', "'$HOME'"],
    ['`x`', "'`x`'"],
    ["$it's ‘x’", "'$it''s ‘‘x’’'"],
    ['{"a":1}', `'{"a":1}'`],
  ]
  for (const [text, word] of expected) t.equal(shellWord(text, 'win32'), word, text)
  t.end()
})

test('one option per line, except on Windows', t => {
  t.equal(shellLines('aws rds x', ['--a 1', '--b 2'], 'linux'), 'aws rds x \\\n  --a 1 \\\n  --b 2')
  t.equal(shellLines('aws rds x', ['--a 1', '--b 2'], 'win32'), 'aws rds x --a 1 --b 2')
  t.end()
})
