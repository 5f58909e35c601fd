import { test } from 'tap'
import { explain } from '../../src/commands/explain.ts'
import { CLIENT_ERRORS, ERRORS, type ErrorCode, SERVER_ERRORS } from '../../src/error-codes.ts'
import { newErrorCode, renamedCodes } from '../../src/renames.ts'

test('a code, a number, a symbol, in any case', t => {
  t.match(explain('TLS_WRONG_NAME'), /^TLS_WRONG_NAME \(ERROR 1043, exit code 5\)/)
  t.match(explain('tls_wrong_name'), /stale target/)
  t.match(explain('1045'), /^ER_ACCESS_DENIED_ERROR \(ERROR 1045 of the server\)/)
  t.match(explain('1045'), /AUTH_PLUGIN_UNEXPECTED/, 'all that a client sees as 1045')
  t.match(explain('ERROR 1129'), /max_connect_errors/)
  t.match(explain('er_bad_db_error'), /ERROR 1049/)
  t.match(explain('2013'), /^CR_SERVER_LOST \(ERROR 2013 of the client\)[\s\S]*Source: client/)
  t.end()
})

test('every error is explained, in 80 columns', t => {
  for (const code of [ERRORS, SERVER_ERRORS, CLIENT_ERRORS].flatMap(table => Object.keys(table))) {
    const text = explain(code)
    t.match(text, /More:\s+\S/, code)
    t.notMatch(text, /[{}]|undefined|\((rds|dial|user|region)\)/, `${code}: all filled in`)
    for (const line of text.split('\n')) if (line.length > 80) t.notMatch(line.trim(), / /, line)
  }
  t.end()
})

test('the list', t => {
  const list = explain(undefined)
  for (const code of Object.keys(ERRORS) as ErrorCode[]) t.match(list, ` ${code} `)
  for (const errno of Object.keys(SERVER_ERRORS)) t.match(list, new RegExp(`^${errno} `, 'm'))
  for (const line of list.split('\n')) t.ok(line.length <= 80, line)
  t.end()
})

test('the error for an old code names the new one', t => {
  for (const code of renamedCodes) {
    const renamed = newErrorCode(code)!
    t.ok(renamed in ERRORS, renamed)
    t.notOk(code in ERRORS, code)
    t.match(explain(code), `${code} is now ${renamed}\n\n${renamed} (`)
  }
  t.match(explain('out_of_files'), /^OUT_OF_FILES is now FILE_LIMIT_REACHED/)
  t.end()
})

test('an unknown code', t => {
  t.throws(() => explain('TLS_WRNG_NAME'), { code: 'CONFIG_INVALID', message: /did you mean TLS_WRONG_NAME\?/ })
  t.throws(() => explain('1046'), { message: /^there is no error 1046/ })
  t.throws(() => explain('x'), { message: /^there is no error x$/ })
  t.end()
})
