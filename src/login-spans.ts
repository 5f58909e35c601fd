/** Traces of logins: a span for each login, with a child for each of its phases. Names are OpenTelemetry's where it has some. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { wallClockOffset } from './clock.ts'
import type { Endpoint } from './endpoint.ts'
import { type Attributes, SPAN_KIND, type Span, type SpanExporter } from './otlp.ts'
import { MAX_KEPT_NAME_LENGTH } from './protocol/packets.ts'
import type { LoginTracer, Phase, Session } from './state.ts'

/** Phases that wait for the database. */
const CLIENT_PHASES: readonly Phase[] = ['dial', 'tls', 'login']

/** A login that runs now. */
interface Login {
  traceId: string
  spanId: string
  /** wallClockOffset() at its start: it jitters by a millisecond, and a phase must lie within its login */
  offset: number
  phases: Span[]
  ended: boolean
}

/** @param ratio how many of the logins are traced, from 0 to 1 */
export function createLoginTracer(endpoint: Endpoint, exporter: Pick<SpanExporter, 'add'>, ratio: number): LoginTracer {
  const { host, port } = endpoint.dial
  const server = { 'db.system.name': 'mysql', 'server.address': host, 'server.port': port }
  // Phases happen far below the session, in code that knows nothing about traces.
  const running = new AsyncLocalStorage<Login>()

  const createSpan = (login: Login, name: string, started: number): Omit<Span, 'kind' | 'attributes' | 'error'> => {
    return {
      traceId: login.traceId,
      spanId: randomBytes(8).toString('hex'),
      name,
      start: login.offset + started,
      end: login.offset + performance.now(),
    }
  }

  return {
    run(work) {
      if (Math.random() >= ratio) return work()
      const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
      return running.run({ traceId, spanId, offset: wallClockOffset(), phases: [], ended: false }, work)
    },
    phase(phase, started, error) {
      const login = running.getStore()
      if (!login || login.ended) return
      const isClient = CLIENT_PHASES.includes(phase)
      login.phases.push({
        ...createSpan(login, phase, started),
        parentSpanId: login.spanId,
        kind: isClient ? SPAN_KIND.client : SPAN_KIND.internal,
        attributes: isClient ? server : {},
        error,
      })
    },
    end(session, code) {
      const login = running.getStore()
      if (!login || login.ended) return
      login.ended = true
      exporter.add([
        {
          ...createSpan(login, 'mysql login', session.started),
          spanId: login.spanId,
          kind: SPAN_KIND.server,
          attributes: { ...server, ...describe(session, endpoint) },
          error: code === 'OK' ? undefined : code,
        },
        ...login.phases,
      ])
      login.phases = []
    },
  }
}

function describe({ id, localUser, user, client, database, threadId }: Session, { name }: Endpoint): Attributes {
  return {
    'client.address': client,
    'user.name': short(localUser),
    'db.namespace': short(database),
    'mysql_iam_proxy.endpoint': name,
    'mysql_iam_proxy.session': id,
    'mysql_iam_proxy.user': short(user),
    'mysql_iam_proxy.thread_id': threadId,
  }
}

/** The protocol allows names of 128 KiB, and many spans may wait for a receiver. The copy does not keep the whole text. */
function short(name: string | undefined): string | undefined {
  if (name === undefined || name.length <= MAX_KEPT_NAME_LENGTH) return name
  return `${Buffer.from(name.slice(0, MAX_KEPT_NAME_LENGTH))}…`
}
