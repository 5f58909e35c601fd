import { test } from 'tap'
import { harmless, redact, stderrOf } from '../../src/aws/redact.ts'
import { ProxyError } from '../../src/errors.ts'

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
    'The IP address 10.0.0.1 is not within the VPC',
    'Target group shop not found',
    'Target groups shop not found',
    'connect ECONNREFUSED 169.254.169.254:80',
    'getaddrinfo ENOTFOUND sts.eu-west-1.amazonaws.com',
    'read ECONNRESET',
    'Profile dev was not found.',
    'Profile Error: dev was not found.',
    'SSO session corp could not be found in shared credentials file.',
    'Sso session corp is missing required property sso_region',
    'Unsupported credential source in profile dev. Got Cloud, expected EcsContainer or Ec2InstanceMetadata.',
    'Profile is configured with invalid SSO credentials. Required parameters "sso_account_id".',
    'Detected a cycle attempting to resolve credentials for profile dev.',
    'Conflicting SSO start_url configured',
    'Conflicting SSO region configured',
    'Invalid response received from instance metadata service.',
    'Error response received from instance metadata service',
    'TimeoutError from instance metadata service',
    'Unable to connect to instance metadata service',
    'HTTP credential provider response not of the required format, an object matching: { Expiration: string }',
    "ENOENT: no such file or directory, open '/home/dev/token'",
    'EACCES: permission denied, open /home/dev/token',
    'URL not accepted. It must either be HTTPS or match one of the following:',
    "Unable to refresh credentials due to insufficient permissions. You may be missing permission for the 'CreateOAuth2Token' action.",
    'The container metadata credential provider cannot be used unless a variable is set',
    'EC2 Instance Metadata Service access disabled',
    'Web identity configuration not specified',
    'SSO returns an invalid temporary credential.',
    'Not authorized to perform sts:AssumeRoleWithWebIdentity',
    'The security token included in the request is expired',
    'The security token included in the request is invalid.',
    'Rate exceeded',
    'User: arn:aws:sts::123456789012:assumed-role/db/s is not authorized to perform: rds:DescribeDBInstances on resource: arn:aws:rds:eu-west-1:123456789012:db:shop because no identity-based policy allows the rds:DescribeDBInstances action',
  ]) {
    t.equal(harmless(sdkError(message)), message.slice(0, 200).replace(/[.:]$/, ''))
    t.equal(harmless(new Error(`Error: ${message}`)), message.slice(0, 200).replace(/[.:]$/, ''), 'kept as text')
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
    [sdkError(`${secret} Error: Rate exceeded`), nothing],
    [sdkError(secret, { name: `Denied ${secret}`, code: `EX ${secret}` }), nothing],
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

test('what is named like a secret, or looks like a key, is replaced', t => {
  const cases: [text: string, shown: string][] = [
    ['password=hunter2 host=db', 'password=*** host=db'],
    ['--secret-access-key hunter2', '--secret-access-key ***'],
    ['--token "hunter2"', '--token "***"'],
    ['PASSPHRASE: hunter2, then', 'PASSPHRASE: ***, then'],
    ["'signature' : 'ab,cd'", "'signature' : '***,cd'"],
    ['the key  a1', 'the key  ***'],
    ['the token has expired', 'the token has expired'],
    ['token expired2 and token expired3', 'token *** and token ***'],
    ['token=a token=b', 'token=*** token=***'],
    ['wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is it', '*** is it'],
    ['aaaaaaaaaaaaaaaaaaA1', '***'],
    ['aaaaaaaaaaaaaaaaaA1', 'aaaaaaaaaaaaaaaaaA1'],
    ['AAAAAAAAAAAAAAAAAAA1', 'AAAAAAAAAAAAAAAAAAA1'],
    ['aaaaaaaaaaaaaaaaaaa1', 'aaaaaaaaaaaaaaaaaaa1'],
    ['aaaaaaaaaaaaaaaaaaaA', 'aaaaaaaaaaaaaaaaaaaA'],
    ['/home/Anna/projects/2026/bin', '/home/Anna/projects/2026/bin'],
    ['/home/aaaaaaaaaaaaaaA1/file', '***'],
    ['/home/aaaaaaaaaaaaaA1/file', '/home/aaaaaaaaaaaaaA1/file'],
    ['home/Anna/projects/2026/bin', '***'],
  ]
  for (const [text, shown] of cases) t.equal(redact(text), shown)
  t.end()
})

test('of credential_process, the first line on stderr is shown, but not the command', t => {
  const failed = (cause: unknown) => new ProxyError('CREDENTIALS_FAILED', 'it failed', { cause })
  const stderr = (lines: string) => stderrOf(failed(new Error(`Command failed: helper --password hunter2\n${lines}`)))
  t.equal(stderr('\n  no such vault \nmore'), 'no such vault')
  t.equal(stderr('password=hunter3'), 'password=***')
  t.equal(stderr('ab '.repeat(100)), 'ab '.repeat(100).slice(0, 200))
  t.equal(stderr(''), undefined)
  t.equal(stderrOf(failed(new Error('other\nno such vault'))), undefined)
  t.equal(stderrOf(failed('Command failed: helper\nno such vault')), undefined)
  t.end()
})

test('a message is cut', t => {
  t.equal(
    harmless(sdkError(`The IP address a is not ${'b'.repeat(150)}\nmore`)),
    `The IP address a is not ${'b'.repeat(150)}`,
  )
  const long = `Unsupported credential source in profile a. Got ${'b '.repeat(64).trim()}, ${'c'.repeat(100)}`
  t.equal(harmless(sdkError(long)), long.slice(0, 200))
  t.end()
})
