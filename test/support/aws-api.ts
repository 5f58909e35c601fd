/**
 * A stand-in for the AWS APIs of STS, RDS and Elastic Load Balancing v2. The real clients of the SDK find it through
 * AWS_ENDPOINT_URL_…. All three use the AWS query protocol: form-encoded requests and XML responses.
 * https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** XML inside the action's `…Result` element, or a refusal. */
export type Answer = string | { error: string; message?: string; status?: number }

/** From the signature of a request. */
export interface Signer {
  accessKeyId: string
  region: string
}

export interface AwsApi {
  /** the requests so far, oldest first */
  requests: ({ action: string; parameters: Record<string, string> } & Signer)[]
  /** a change takes effect with the next request; a function gets the parameters and the signer */
  answers: Record<string, Answer | ((parameters: Record<string, string>, signer: Signer) => Answer | Promise<Answer>)>
  /** milliseconds to add to the Date header */
  clockOffset: number
}

const NAMESPACES: Record<string, string> = {
  '2011-06-15': 'https://sts.amazonaws.com/doc/2011-06-15/',
  '2014-10-31': 'http://rds.amazonaws.com/doc/2014-10-31/',
  '2015-12-01': 'http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/',
}

/** Starts the stand-in and points the SDK's clients in this process to it. It denies requests without an answer. */
export async function startAwsApi(t: Test, answers: AwsApi['answers'] = {}): Promise<AwsApi> {
  const { api, url, close } = await serveAwsApi(answers)
  t.teardown(close)
  Object.assign(process.env, awsApiEnvironment(url))
  return api
}

/** The variables that point the SDK's clients to the stand-in. */
export function awsApiEnvironment(url: string): Record<string, string> {
  const services = ['STS', 'RDS', 'ELASTIC_LOAD_BALANCING_V2']
  return Object.fromEntries(services.map(service => [`AWS_ENDPOINT_URL_${service}`, url]))
}

/** Starts the stand-in alone. */
export async function serveAwsApi(answers: AwsApi['answers'] = {}, port = 0) {
  const api: AwsApi = { requests: [], answers, clockOffset: 0 }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { Action: action = '', Version: version = '', ...parameters } = Object.fromEntries(new URLSearchParams(body))
    const signer = signerOf(request.headers.authorization ?? '')
    api.requests.push({ action, parameters, ...signer })
    const given = api.answers[action] ?? { error: 'AccessDenied', message: `not authorized to perform ${action}` }
    const answer = typeof given === 'function' ? await given(parameters, signer) : given
    response.setHeader('date', new Date(Date.now() + api.clockOffset).toUTCString())
    response.setHeader('content-type', 'text/xml')
    response.statusCode = typeof answer === 'string' ? 200 : (answer.status ?? 403)
    response.end(toXml(action, NAMESPACES[version] ?? '', answer))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  return { api, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close }
}

/** AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, … */
function signerOf(authorization: string): Signer {
  const [, accessKeyId = '', region = ''] = /Credential=([^/]+)\/\d+\/([^/]+)\//.exec(authorization) ?? []
  return { accessKeyId, region }
}

function toXml(action: string, namespace: string, answer: Answer): string {
  const requestId = '<RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>'
  if (typeof answer !== 'string') {
    const error = `<Type>Sender</Type><Code>${answer.error}</Code><Message>${answer.message ?? ''}</Message>`
    return `<ErrorResponse xmlns="${namespace}"><Error>${error}</Error>${requestId}</ErrorResponse>`
  }
  const result = `<${action}Result>${answer}</${action}Result><ResponseMetadata>${requestId}</ResponseMetadata>`
  return `<${action}Response xmlns="${namespace}">${result}</${action}Response>`
}

/** https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html */
export function identity(arn: string): string {
  const account = arn.split(':')[4]
  return `<Arn>${arn}</Arn><UserId>AROAEXAMPLE:session</UserId><Account>${account}</Account>`
}
