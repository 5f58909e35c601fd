import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { RDSClient } from '@aws-sdk/client-rds'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { type Test, test } from 'tap'
import { callAws, clientSettings, explainAwsError, listIn } from '../../src/aws/api.ts'
import { ProxyError } from '../../src/errors.ts'

const credentials = async () => ({ accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret-access-key-of-the-tests' })

async function startServer(t: Test, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a request that is never answered fails at its time limit', async t => {
  const endpoint = await startServer(t, () => {})
  const { requestHandler, ...settings } = clientSettings('eu-west-1', credentials)
  const client = new STSClient({ ...settings, endpoint, requestHandler: { ...requestHandler, requestTimeout: 50 } })
  t.teardown(() => client.destroy())
  await t.rejects(
    callAws('sts:GetCallerIdentity', () => client.send(new GetCallerIdentityCommand({}))),
    { code: 'AWS_UNREACHABLE', message: /^sts:GetCallerIdentity failed: TimeoutError/ },
  )
})

test('an answer that stops in the middle fails at the same time limit', async t => {
  const endpoint = await startServer(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/xml' })
    response.write('<GetCallerIdentityResponse>')
  })
  const { requestHandler, ...settings } = clientSettings('eu-west-1', credentials)
  const client = new STSClient({ ...settings, endpoint, requestHandler: { ...requestHandler, socketTimeout: 50 } })
  t.teardown(() => client.destroy())
  await t.rejects(
    callAws('sts:GetCallerIdentity', () => client.send(new GetCallerIdentityCommand({}))),
    { code: 'AWS_UNREACHABLE', message: /^sts:GetCallerIdentity failed: TimeoutError/ },
  )
})

test('every client has a limit that ends the request', async t => {
  for (const Client of [STSClient, RDSClient, ElasticLoadBalancingV2Client]) {
    const client = new Client(clientSettings('eu-west-1', credentials))
    const handler = client.config.requestHandler as unknown as { configProvider: Promise<object> }
    t.match(
      await handler.configProvider,
      {
        requestTimeout: 8_000,
        throwOnRequestTimeout: true,
        socketTimeout: 8_000,
      },
      Client.name,
    )
    client.destroy()
  }
})

test('what errors of AWS mean', async t => {
  const cases: [name: string, status: number | undefined, code: string][] = [
    ['Throttling', 400, 'AWS_THROTTLED'],
    ['ThrottlingException', 400, 'AWS_THROTTLED'],
    ['RequestLimitExceeded', 503, 'AWS_THROTTLED'],
    ['Whatever', 429, 'AWS_THROTTLED'],
    ['TooManyTargetsException', 400, 'AWS_CALL_REFUSED'],
    ['ValidationError', 400, 'AWS_CALL_REFUSED'],
    ['AccessDenied', 403, 'AWS_ACCESS_DENIED'],
    ['ExpiredToken', 403, 'CREDENTIALS_REJECTED'],
    ['TargetGroupNotFoundException', 400, 'AWS_NOT_FOUND'],
    ['InternalFailure', 500, 'AWS_UNREACHABLE'],
    ['ServiceUnavailable', 503, 'AWS_UNREACHABLE'],
    ['TimeoutError', undefined, 'AWS_UNREACHABLE'],
  ]
  for (const [name, httpStatusCode, code] of cases) {
    const error = Object.assign(new Error('of a test'), { name, $metadata: { httpStatusCode, attempts: 2 } })
    t.match(explainAwsError(error, 'rds:Do'), { code, message: /^rds:Do failed: .*\(after 2 attempts\)$/ }, name)
  }
  const unreadable = Object.assign(new Error('XML'), { $metadata: { httpStatusCode: 200 } })
  t.match(explainAwsError(unreadable, 'rds:Do'), { code: 'AWS_UNREACHABLE', message: /the answer is not from AWS/ })
  const cut = Object.assign(new Error('aborted'), { code: 'ECONNRESET', $metadata: { httpStatusCode: 200 } })
  t.match(explainAwsError(cut, 'rds:Do'), { code: 'AWS_UNREACHABLE', message: /ECONNRESET/ })
  const own = new ProxyError('CREDENTIALS_MISSING', 'none')
  t.equal(explainAwsError(own, 'rds:Do'), own)
  t.match(explainAwsError('text', 'rds:Do'), { code: 'AWS_UNREACHABLE' })
})

test('an answer without its list is not from AWS', async t => {
  t.same(listIn([], 'rds:Do'), [])
  t.throws(() => listIn(undefined, 'rds:Do'), { code: 'AWS_UNREACHABLE', message: /^rds:Do failed: the answer is not/ })
})
