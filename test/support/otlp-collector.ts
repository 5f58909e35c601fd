/** A receiver of OTLP over HTTP with JSON, which checks what it gets. https://opentelemetry.io/docs/specs/otlp/#otlphttp-request */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface ReceivedSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: { key: string; value: { stringValue?: string; intValue?: string } }[]
  status: { code?: number; message?: string }
}

export interface Collector {
  url: string
  requests: { path: string; headers: IncomingHttpHeaders; body: string }[]
  /** the status of the answers from now on; undefined: no answer */
  answer: number | undefined
  spans(): ReceivedSpan[]
  /** of the newest request */
  resource(): Record<string, string | undefined>
}

interface Body {
  resourceSpans: {
    resource: { attributes: ReceivedSpan['attributes'] }
    scopeSpans: { scope: { name: string }; spans: ReceivedSpan[] }[]
  }[]
}

export async function startCollector(t: Test): Promise<Collector> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', text => {
      body += text
    })
    request.on('end', () => {
      collector.requests.push({ path: request.url ?? '', headers: request.headers, body })
      if (collector.answer !== undefined) response.writeHead(collector.answer).end('{}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const parsed = () => collector.requests.map(({ body }) => JSON.parse(body) as Body)
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    answer: 200,
    spans: () =>
      parsed().flatMap(({ resourceSpans }) =>
        resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(s => s.spans)),
      ),
    resource: () => attributesOf(parsed().at(-1)?.resourceSpans[0]?.resource ?? { attributes: [] }),
  }
  return collector
}

export function attributesOf({ attributes }: Pick<ReceivedSpan, 'attributes'>): Record<string, string | undefined> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]))
}
