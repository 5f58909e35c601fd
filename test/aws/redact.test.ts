import { test } from 'tap'
import { harmless } from '../../src/aws/redact.ts'

/** An error with the fields that the SDK sets. */
function sdkError(message: string, fields: object = {}): Error {
  return Object.assign(new Error(message), fields)
}

test('known messages are shown', t => {
  for (const message of [
    'Profile dev credential_process returned invalid JSON.',
    'Profile dev could not be found in shared credentials file.',
    'Could not resolve credentials using profile: [dev] in configuration/credentials file(s).',
    'Server responded with status: 403',
    'User: arn:aws:sts::123456789012:assumed-role/db/s is not authorized to perform: rds:DescribeDBInstances on resource: arn:aws:rds:eu-west-1:123456789012:db:shop because no identity-based policy allows the rds:DescribeDBInstances action',
  ]) {
    t.equal(harmless(sdkError(message)), message.slice(0, 200).replace(/\.$/, ''))
    t.equal(harmless(new Error(`Error: ${message}`)), message.slice(0, 200).replace(/\.$/, ''), 'kept as text')
  }
  t.end()
})

test('of other messages only the name, the code and the HTTP status are shown', t => {
  const secret = 'hunter2'
  const key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
  const nothing = 'no details, because the message could contain a secret'
  const cases: [error: unknown, shown: string][] = [
    [sdkError(`Unexpected token 'h', "${secret}" is not valid JSON`, { name: 'SyntaxError' }), 'SyntaxError'],
    [sdkError(`connect ${secret}`, { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
    [sdkError(secret, { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } }), 'AccessDenied, HTTP 403'],
    [sdkError(secret, { name: key, code: key, $metadata: { httpStatusCode: secret } }), nothing],
    [sdkError(`Server responded with status: 403 ${secret}`), nothing],
    [sdkError(`${secret}: Rate exceeded`), nothing],
    [
      sdkError(`Profile dev credential_process returned invalid JSON.\n${secret}`),
      'Profile dev credential_process returned invalid JSON',
    ],
    [sdkError(`User: ${key} is not authorized to perform: a`), 'User: *** is not authorized to perform: a'],
    [secret, nothing],
    [{ message: secret }, nothing],
    [undefined, nothing],
    [sdkError(''), nothing],
  ]
  for (const [error, shown] of cases) {
    t.equal(harmless(error), shown)
    t.notOk(harmless(error).includes(secret) || harmless(error).includes(key))
  }
  t.end()
})
