/**
 * Sends spans by OTLP over HTTP, as JSON, without a library: docs/decisions/0122-own-otlp-exporter.md.
 * https://opentelemetry.io/docs/specs/otlp/ and https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
import {
  type Agent,
  type IncomingMessage,
  request as requestHttp,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http'
import { request as requestHttps } from 'node:https'
import { within } from './abort.ts'
import { type Clock, monotonicClock } from './clock.ts'
import { ProxyError, systemCode } from './errors.ts'
import type { Logger } from './log.ts'

/** https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto */
export const SPAN_KIND = { internal: 1, server: 2, client: 3 } as const
const STATUS_CODE_ERROR = 2

export type Attributes = Readonly<Record<string, string | number | undefined>>

export interface Span {
  /** 32 hexadecimal digits */
  traceId: string
  /** 16 hexadecimal digits */
  spanId: string
  parentSpanId?: string | undefined
  name: string
  kind: (typeof SPAN_KIND)[keyof typeof SPAN_KIND]
  /** milliseconds since 1970, with fractions */
  start: number
  end: number
  attributes: Attributes
  /** what it failed with; undefined if it did not */
  error: string | undefined
}

export interface SpanExporter {
  /** Keeps spans until they are sent, soon. Drops them while too many wait. */
  add(spans: readonly Span[]): void
  /** Sends what waits, once and for a limited time. */
  close(): Promise<void>
}

export interface OtlpSettings {
  url: URL
  headers: Record<string, string>
  /** milliseconds for one request */
  timeout: number
  /** of all spans; has service.name */
  resource: Attributes
  /** how many of the traces are sent, from 0 to 1 */
  ratio: number
}

/** The defaults of OpenTelemetry's batch span processor. */
const SCHEDULE_DELAY_MS = 5_000
const MAX_QUEUED_SPANS = 2_048
const MAX_BATCH_SPANS = 512

const DEFAULT_TIMEOUT_MS = 10_000

/** The most that a timer of Node.js can hold. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

/** How long the end of the process may wait. */
const CLOSE_TIMEOUT_MS = 2_000

/** Answers that a later attempt may change. https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes */
const RETRYABLE = [429, 502, 503, 504]

/**
 * What OpenTelemetry's variables ask for. Traces are off unless OTEL_TRACES_EXPORTER is otlp.
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 * @returns the settings; or why there can be none, for a warning, as the variables may be meant for other programs
 */
export function readOtlpSettings(
  environment: NodeJS.ProcessEnv,
  version: string,
): OtlpSettings | { problem: string } | undefined {
  // An empty variable counts as unset.
  const read = (name: string) => environment[`OTEL_${name}`]?.trim() || undefined
  const readTraces = (name: string) => read(`EXPORTER_OTLP_TRACES_${name}`) ?? read(`EXPORTER_OTLP_${name}`)
  if (read('SDK_DISABLED')?.toLowerCase() === 'true') return undefined
  const exporter = read('TRACES_EXPORTER') ?? 'none'
  if (exporter === 'none') return undefined
  if (exporter !== 'otlp') return { problem: `OTEL_TRACES_EXPORTER=${exporter} is unsupported; use otlp` }
  const protocol = readTraces('PROTOCOL')
  // A receiver of http/protobuf takes JSON at the same address.
  if (protocol !== undefined && !protocol.startsWith('http/')) {
    return { problem: `OTEL_EXPORTER_OTLP_PROTOCOL=${protocol} is unsupported; use http/json, at port 4318` }
  }
  const address = read('EXPORTER_OTLP_TRACES_ENDPOINT') ?? withPath(read('EXPORTER_OTLP_ENDPOINT'))
  if (!/^https?:/i.test(address) || !URL.canParse(address)) {
    return { problem: 'OTEL_EXPORTER_OTLP_ENDPOINT is not a URL with http or https' }
  }
  const timeout = Number(readTraces('TIMEOUT') ?? DEFAULT_TIMEOUT_MS)
  if (!(timeout > 0 && timeout <= MAX_TIMEOUT_MS)) {
    return { problem: 'OTEL_EXPORTER_OTLP_TIMEOUT is not a number of milliseconds' }
  }
  const ratio = readRatio(read('TRACES_SAMPLER') ?? 'always_on', read('TRACES_SAMPLER_ARG') ?? '1')
  if (ratio === undefined) return { problem: 'OTEL_TRACES_SAMPLER or OTEL_TRACES_SAMPLER_ARG is unsupported' }
  const named = parsePairs(read('RESOURCE_ATTRIBUTES'))
  const headers = parsePairs(readTraces('HEADERS'))
  if (!named || !headers) {
    return { problem: 'OTEL_EXPORTER_OTLP_HEADERS or OTEL_RESOURCE_ATTRIBUTES is not name=value, separated by commas' }
  }
  if (!areValid(headers)) return { problem: 'OTEL_EXPORTER_OTLP_HEADERS has a header that HTTP does not allow' }
  const service = read('SERVICE_NAME') ?? named['service.name'] ?? 'mysql-iam-proxy'
  const resource = { 'service.version': version, ...named, 'service.name': service }
  return { url: new URL(address), headers, timeout, resource, ratio }
}

function withPath(base = 'http://localhost:4318'): string {
  return `${base.replace(/\/+$/, '')}/v1/traces`
}

/** There is never a parent, so a parent-based sampler is its root sampler. */
function readRatio(sampler: string, argument: string): number | undefined {
  const ratio = Number(argument)
  const ratios: Record<string, number | undefined> = {
    always_on: 1,
    always_off: 0,
    traceidratio: ratio >= 0 && ratio <= 1 ? ratio : undefined,
  }
  return ratios[sampler.replace(/^parentbased_/, '')]
}

/** `a=1,b=2%20c`, as W3C Baggage has it; undefined for anything else. */
function parsePairs(text = ''): Record<string, string> | undefined {
  const pairs: Record<string, string> = {}
  for (const pair of text.split(',').filter(part => part.trim() !== '')) {
    const [, name = '', value = ''] = /^\s*([^\s=]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? []
    if (name === '') return undefined
    try {
      pairs[name] = decodeURIComponent(value)
    } catch {
      return undefined
    }
  }
  return pairs
}

/** Node.js refuses to send others, such as one with a line end. */
function areValid(headers: Record<string, string>): boolean {
  try {
    for (const [name, value] of Object.entries(headers)) {
      validateHeaderName(name)
      validateHeaderValue(name, value)
    }
    return true
  } catch {
    return false
  }
}

/** @param agent for https */
export function createSpanExporter(
  settings: OtlpSettings,
  log: Logger,
  agent?: Agent,
  clock: Clock = monotonicClock,
): SpanExporter {
  const { url, timeout } = settings
  let queue: Span[] = []
  let dropped = 0
  /** the problem in the log already; '' after success */
  let reported = ''
  let cancelTimer: (() => void) | undefined
  let sending: Promise<void> | undefined

  const report = (problem: string) => {
    if (problem === reported) return
    if (problem !== '') log.warn({ dropped }, `traces are not sent: ${url.host}: ${problem}`)
    else log.info({ dropped }, `traces are sent again: ${url.host}`)
    dropped = 0
    reported = problem
  }

  /** Sends one batch, and keeps it for later where that may help. */
  const sendBatch = async (milliseconds: number): Promise<void> => {
    const batch = queue.splice(0, MAX_BATCH_SPANS)
    const { problem, mayRetry } = await post(settings, encode(settings.resource, batch), milliseconds, agent)
    if (problem !== '' && mayRetry) queue = [...batch, ...queue]
    else if (problem !== '') dropped += batch.length
    dropped += queue.splice(0, Math.max(0, queue.length - MAX_QUEUED_SPANS)).length
    report(problem)
  }

  const schedule = () => {
    cancelTimer ??= clock.after(SCHEDULE_DELAY_MS, async () => {
      sending = sendBatch(timeout)
      await sending
      sending = undefined
      cancelTimer = undefined
      if (queue.length > 0) schedule()
    })
  }

  return {
    add(spans) {
      if (queue.length + spans.length > MAX_QUEUED_SPANS) {
        dropped += spans.length
        return
      }
      queue.push(...spans)
      schedule()
    },
    async close() {
      cancelTimer?.()
      const deadline = clock.now() + CLOSE_TIMEOUT_MS
      if (sending) await within(sending, CLOSE_TIMEOUT_MS, clock)
      while (queue.length > 0 && clock.now() < deadline) {
        const before = queue.length
        await sendBatch(Math.min(timeout, deadline - clock.now()))
        if (queue.length === before) return
      }
    },
  }
}

/** The body of a request: ExportTraceServiceRequest in OTLP's JSON. Exported for tests. */
export function encode(resource: Attributes, spans: readonly Span[]): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: encodeAttributes(resource) },
        scopeSpans: [{ scope: { name: 'mysql-iam-proxy' }, spans: spans.map(encodeSpan) }],
      },
    ],
  })
}

function encodeSpan({ start, end, attributes, error, ...span }: Span): object {
  return {
    ...span,
    startTimeUnixNano: nanoseconds(start),
    endTimeUnixNano: nanoseconds(end),
    attributes: encodeAttributes({ ...attributes, 'error.type': error }),
    status: error === undefined ? {} : { code: STATUS_CODE_ERROR, message: error },
  }
}

/** 64-bit integers are text in JSON. Microseconds are as exact as the clock. */
function nanoseconds(milliseconds: number): string {
  return `${Math.round(milliseconds * 1_000)}000`
}

function encodeAttributes(attributes: Attributes): object[] {
  return Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ({
      key,
      value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value },
    }))
}

interface Sent {
  /** '' if there is none */
  problem: string
  mayRetry: boolean
}

/** Never rejects. */
async function post(
  { url, headers }: OtlpSettings,
  body: string,
  timeout: number,
  agent: Agent | undefined,
): Promise<Sent> {
  const signal = AbortSignal.timeout(Math.ceil(timeout))
  const late = new Promise<Sent>(resolve => {
    // The error of the request comes later if its agent still waits for a connection.
    signal.addEventListener('abort', () => resolve({ problem: 'no answer in time', mayRetry: true }), { once: true })
  })
  const options = {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
    signal,
  }
  const answer = new Promise<Sent>(resolve => {
    const onResponse = (response: IncomingMessage) => {
      const { statusCode = 0 } = response
      response.resume().on('error', () => {})
      const isOK = statusCode >= 200 && statusCode < 300
      resolve({ problem: isOK ? '' : `HTTP status ${statusCode}`, mayRetry: RETRYABLE.includes(statusCode) })
    }
    const request =
      url.protocol === 'https:'
        ? requestHttps(url, { ...options, ...(agent && { agent }) }, onResponse)
        : requestHttp(url, options, onResponse)
    request.on('error', error => {
      const why = error instanceof ProxyError ? error.message : systemCode(error) || 'no answer'
      resolve({ problem: signal.aborted ? 'no answer in time' : why, mayRetry: true })
    })
    request.end(body)
  })
  return await Promise.race([answer, late]).catch((error: Error) => ({
    // Node.js refuses such an address or header. Its message may repeat them.
    problem: `no request is possible (${systemCode(error) || error.name})`,
    mayRetry: false,
  }))
}
