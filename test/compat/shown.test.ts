import { test } from 'tap'
import { judgeShown } from './shown.ts'

const expected = {
  errno: 1105,
  message: 'mysql-iam-proxy: no AWS credentials found. Set AWS_PROFILE, or run aws configure.',
}
const shows = (errno: number, message: string) => ({ values: [[errno, '', message]] })

test('the number and all words, with other words around them and other white space', t => {
  t.same(judgeShown({ expected, proxied: shows(1105, expected.message) }), { outcome: 'passed' })
  const wrapped = `Error 1105: ${expected.message.replaceAll(' ', '\n  ')} (SQL: SELECT 1)`
  t.same(judgeShown({ expected, proxied: shows(0, wrapped) }), { outcome: 'passed' })
  t.end()
})

test('the words without the number', t => {
  t.same(judgeShown({ expected, proxied: shows(0, expected.message) }), {
    outcome: 'in part',
    detail: 'without the number',
  })
  t.end()
})

test('truncated words', t => {
  t.same(judgeShown({ expected, proxied: shows(1105, expected.message.slice(0, 40)) }), {
    outcome: 'in part',
    detail: `only the first 40 of 81 characters: ${expected.message.slice(0, 40)}`,
  })
  t.end()
})

test('only the number', t => {
  t.same(judgeShown({ expected, proxied: shows(1105, 'Unknown error') }), {
    outcome: 'in part',
    detail: 'only the number: Unknown error',
  })
  t.end()
})

test('a different error', t => {
  const error: [number, string, string] = [2027, 'HY000', 'Received malformed packet']
  t.same(judgeShown({ expected, proxied: { error } }), { outcome: 'hidden', detail: 'Received malformed packet' })
  t.end()
})

test('a client that shows such an error directly has to show it through the proxy', t => {
  const direct = { expected: { errno: 1045, message: 'Access denied' }, report: shows(1045, 'Access denied for you') }
  t.equal(judgeShown({ expected, proxied: shows(2027, 'malformed'), direct }).outcome, 'failed')
  t.equal(judgeShown({ expected, proxied: shows(1105, 'Unknown error'), direct }).outcome, 'failed')
  const both = { ...direct, report: shows(2027, 'malformed') }
  t.equal(judgeShown({ expected, proxied: shows(2027, 'malformed'), direct: both }).outcome, 'hidden')
  t.end()
})

test('a client that does not report', t => {
  t.equal(judgeShown({ expected, proxied: undefined }).outcome, 'not run')
  t.equal(judgeShown({ expected, proxied: { unsupported: 'no such call' } }).outcome, 'unsupported')
  t.end()
})

test('the end of the words', t => {
  t.same(judgeShown({ expected, proxied: shows(1105, expected.message.slice(6)) }), {
    outcome: 'in part',
    detail: 'without the first 6 characters',
  })
  t.end()
})
