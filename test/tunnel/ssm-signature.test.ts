import { test } from 'tap'
import { signGet } from '../../src/tunnel/ssm-signature.ts'

// The example keys of AWS's test suite for SigV4.
const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const date = new Date('2015-08-30T12:36:00.123Z')
const shared = { region: 'us-east-1', service: 'service', date }
const signatureOf = (headers: Record<string, string>) => /Signature=(\w+)$/.exec(headers['authorization']!)?.[1]

test("AWS's test suite: get-vanilla", t => {
  const headers = signGet({ ...shared, url: new URL('https://example.amazonaws.com/'), credentials: KEYS })
  t.same(headers, {
    'x-amz-date': '20150830T123600Z',
    authorization:
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, ' +
      'Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  })
  t.end()
})

test("AWS's test suite: get-vanilla-query-order-key-case", t => {
  const url = new URL('https://example.amazonaws.com/?Param2=value2&Param1=value1')
  t.equal(
    signatureOf(signGet({ ...shared, url, credentials: KEYS })),
    'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  )
  t.end()
})

test('a session token is signed too', t => {
  const url = new URL(
    'wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/me@example.com-1?role=publish_subscribe',
  )
  const headers = signGet({ ...shared, url, credentials: { ...KEYS, sessionToken: 'a token' } })
  t.equal(headers['x-amz-security-token'], 'a token')
  t.match(headers['authorization'], /SignedHeaders=host;x-amz-date;x-amz-security-token,/)
  t.end()
})
