import { Signer } from '@aws-sdk/rds-signer'
import { test } from 'tap'
import { type AccessKey, type ExpectedToken, verifyToken } from '../../src/demo/verify-token.ts'
import { signToken } from '../support/token.ts'

const host = 'demo-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const region = 'eu-west-1'
const longTerm: AccessKey = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'a secret/with+signs' }
const temporary: AccessKey = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'another',
  sessionToken: 'IQoJ/b3+JpZ2lu==',
}
const expected: ExpectedToken = { host, port: 3306, region, user: 'Iam_user', keys: [longTerm, temporary] }

function sign(changes: { hostname?: string; port?: number; region?: string; username?: string } = {}, keys = longTerm) {
  const credentials = () => Promise.resolve(keys)
  return new Signer({
    hostname: host,
    port: 3306,
    region,
    username: 'Iam_user',
    credentials,
    ...changes,
  }).getAuthToken()
}

test('tokens of the AWS SDK are valid', async t => {
  t.equal(verifyToken(await sign(), expected), undefined)
  t.equal(verifyToken(await sign({}, temporary), expected), undefined)
  const user = "o'brien (ops) é*/+&=%"
  t.equal(verifyToken(await sign({ username: user }), { ...expected, user }), undefined)
})

test('a token for anything else is refused', async t => {
  t.match(verifyToken(await sign({ hostname: 'nlb.example.com' }), expected), /not for demo-1/)
  t.match(verifyToken(await sign({ hostname: host.toUpperCase() }), expected), /not for demo-1/)
  t.match(verifyToken(await sign({ port: 3307 }), expected), /not for demo-1.*:3306/)
  t.match(verifyToken(await sign({ username: 'iam_user' }), expected), /DBUser/)
  t.match(verifyToken(await sign({ region: 'eu-west-2' }), expected), /eu-west-1/)
  t.match(verifyToken(await sign({}, { ...longTerm, accessKeyId: 'AKIAOTHER' }), expected), /access key is unknown/)
  t.match(verifyToken(await sign({}, { ...longTerm, secretAccessKey: 'guess' }), expected), /signature/)
  t.match(verifyToken(await sign({}, { ...temporary, sessionToken: 'other' }), expected), /session token/)
  t.match(verifyToken(await sign({}, { ...longTerm, sessionToken: 'any' }), expected), /session token/)
})

test('a token is valid for a limited time', async t => {
  const date = new Date('2025-01-31T23:59:59Z')
  const at = (seconds: number) => new Date(date.getTime() + seconds * 1000)
  const token = signToken({ host, port: 3306, region, user: 'Iam_user', credentials: longTerm, date })
  for (const seconds of [-300, -1, 0, 1, 900])
    t.equal(verifyToken(token, expected, at(seconds)), undefined, `${seconds} s`)
  t.match(verifyToken(token, expected, at(901)), /expired/)
  t.match(verifyToken(token, expected, at(-301)), /future/)
  for (const expires of [0, 901, 99999, -1, 1.5]) {
    const odd = signToken({ host, port: 3306, region, user: 'Iam_user', credentials: longTerm, date, expires })
    t.match(verifyToken(odd, expected, date), /X-Amz-Expires/, `${expires} s`)
  }
})

test('a changed token is refused', async t => {
  const token = await sign()
  const refused = (changed: string, reason: RegExp) => t.match(verifyToken(changed, expected), reason)
  refused(`https://${token}`, /scheme/)
  refused(`MYSQL://${token}`, /scheme/)
  refused('', /presigned/)
  refused('hunter2', /presigned/)
  refused(`${token}/?`, /presigned/)
  refused(`${token}&X-Amz-Meta=1`, /unknown parameter/)
  refused(`${token}&`, /unknown parameter/)
  refused(`${token}&Action=connect`, /Action is duplicate/)
  refused(token.replace('Action=connect', 'Action=drop'), /Action/)
  refused(token.replace('Action=connect&', ''), /Action is missing/)
  refused(token.replace('Action=connect', 'Action'), /Action is malformed/)
  refused(token.replace('Action=connect', 'Action=connect='), /Action is malformed/)
  refused(token.replace('DBUser=', 'DBUser=%E0%A4%A'), /DBUser is malformed/)
  refused(token.replace('X-Amz-Expires=900', 'X-Amz-Expires=899'), /signature/)
  refused(token.replace('AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA1'), /Algorithm/)
  refused(token.replace('SignedHeaders=host', 'SignedHeaders=host%3Bdate'), /SignedHeaders/)
  refused(token.replace(/X-Amz-Date=\w+/, 'X-Amz-Date=yesterday'), /X-Amz-Date/)
  refused(token.replace(/X-Amz-Date=\d{8}/, 'X-Amz-Date=20251399'), /X-Amz-Date/)
  refused(token.replace('rds-db', 's3'), /rds-db/)
  for (let length = 0; length < token.length; length++) {
    if (verifyToken(token.slice(0, length), expected) === undefined)
      t.fail(`valid when truncated to ${length} characters`)
  }
  for (let index = 0; index < token.length; index++) {
    const changed = token.slice(0, index) + (token[index] === '0' ? '1' : '0') + token.slice(index + 1)
    if (verifyToken(changed, expected) === undefined) t.fail(`valid with character ${index} changed`)
  }
})
