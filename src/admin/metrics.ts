/** The metrics at /metrics, for Prometheus. Their number is bounded: users, addresses and messages are never labels. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { ERRORS, type ErrorCode, type ErrorSource } from '../error-codes.ts'
import { droppedLogLines } from '../log-sink.ts'
import {
  type BytesOfAll,
  countOpen,
  type EndpointState,
  PHASES,
  type Phase,
  SYNC_OUTCOMES,
  TUNNEL_WORDS,
  traffic,
} from '../state.ts'

export interface Metrics {
  /** of `text`, for the Content-Type header */
  contentType: string
  /** The current metrics in the text format of Prometheus. */
  text(): Promise<string>
  /** Records how long a login took, or a phase of it; for EndpointState.onPhase. */
  observe(endpoint: string, phase: Phase | 'total', milliseconds: number): void
}

const BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Default gauges of prom-client with names of counters. Each scrape would list all handles of the process for them. */
const UNWANTED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** The label with the source of an error. */
function errorSource(code: 'OK' | ErrorCode): ErrorSource | 'none' {
  return code === 'OK' ? 'none' : ERRORS[code].source
}

/** The part of a state that the counters already include. */
interface Counted extends BytesOfAll {
  outcomes: Map<'OK' | ErrorCode, number>
  sync: Partial<Record<(typeof SYNC_OUTCOMES)[number], number>>
  restarts: number
}

/**
 * @param endpoints the current endpoints; the next scrape drops the metrics of removed ones
 * @param drainingSessions sessions in the processes that this one has replaced at upgrades
 */
export function createMetrics(
  endpoints: () => readonly EndpointState[],
  version: string,
  drainingSessions: () => number = () => 0,
): Metrics {
  const register = new Registry()
  const registers = [register]
  collectDefaultMetrics({ register })
  for (const name of UNWANTED) register.removeSingleMetric(name)

  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `mysql_iam_proxy_${name}`, help, labelNames, registers })
  gauge('build_info', 'Always 1. The labels have the versions.', 'version', 'node').set(
    { version, node: process.version },
    1,
  )

  const sessions = gauge('sessions', 'Clients that are logged in.', 'endpoint')
  const draining = gauge('draining_sessions', 'Sessions in the processes that this one has replaced at upgrades.')
  const loggingIn = gauge('logins_in_progress', 'Clients that are connected but not logged in yet.', 'endpoint')
  const maxConnections = gauge(
    'max_connections',
    'Maximum number of simultaneous connections; 0 means no limit.',
    'endpoint',
  )
  const queue = gauge('logins_queued', 'Logins that wait in the queue.', 'endpoint')
  const credentialsOK = gauge(
    'credentials_ok',
    '1 if the last request for AWS credentials succeeded, else 0.',
    'endpoint',
  )
  const credentialsExpiry = gauge(
    'credentials_expiry_timestamp_seconds',
    'When the AWS credentials expire; absent if unknown or never.',
    'endpoint',
  )
  const certificateExpiry = gauge(
    'certificate_expiry_timestamp_seconds',
    'When a certificate expires: of the database at the last login (server), for clients (local), or for IAM Roles Anywhere (roles_anywhere).',
    'endpoint',
    'certificate',
  )
  const tunnelState = gauge(
    'tunnel_state',
    'The state of the tunnel to the database: 1 for the present one of idle, starting, open and failed, else 0; absent without a tunnel.',
    'endpoint',
    'state',
  )
  const gauges = [
    ...[sessions, loggingIn, maxConnections, queue],
    ...[credentialsOK, credentialsExpiry, certificateExpiry as Gauge<string>, tunnelState as Gauge<string>],
  ]

  const logins = new Counter({
    name: 'mysql_iam_proxy_logins_total',
    help: 'Logins by result: OK or an error code, and the source of the error (none for OK).',
    labelNames: ['endpoint', 'code', 'source'],
    registers,
  })
  const bytes = new Counter({
    name: 'mysql_iam_proxy_bytes_total',
    help: 'Bytes relayed after login.',
    labelNames: ['endpoint', 'direction'],
    registers,
  })
  const lineBytes = new Counter({
    name: 'mysql_iam_proxy_line_bytes_total',
    help: 'The same bytes as they travelled between the proxy and the database. Compression makes them fewer.',
    labelNames: ['endpoint', 'direction'],
    registers,
  })
  const byteCounters = [
    [bytes, 'from_client', 'bytesFromClient'],
    [bytes, 'from_server', 'bytesFromServer'],
    [lineBytes, 'from_client', 'lineBytesFromClient'],
    [lineBytes, 'from_server', 'lineBytesFromServer'],
  ] as const
  const phaseDurations = new Histogram({
    name: 'mysql_iam_proxy_login_phase_duration_seconds',
    help: 'Duration of each phase of a login.',
    labelNames: ['endpoint', 'phase'],
    buckets: BUCKETS_SECONDS,
    registers,
  })
  const loginDurations = new Histogram({
    name: 'mysql_iam_proxy_login_duration_seconds',
    help: 'Duration of successful logins, from accept to OK_Packet.',
    labelNames: ['endpoint'],
    buckets: BUCKETS_SECONDS,
    registers,
  })

  const tunnelRestarts = new Counter({
    name: 'mysql_iam_proxy_tunnel_restarts_total',
    help: 'Starts of the tunnel after it failed or ended by itself.',
    labelNames: ['endpoint'],
    registers,
  })

  const syncPasses = new Counter({
    name: 'mysql_iam_proxy_sync_passes_total',
    help: 'Runs of sync-targets by outcome: unchanged, changed, unhealthy, refused or failed.',
    labelNames: ['endpoint', 'outcome'],
    registers,
  })
  const syncLast = gauge('sync_last_pass_timestamp_seconds', 'When sync-targets ran last.', 'endpoint')

  const droppedLines = new Counter({
    name: 'mysql_iam_proxy_log_lines_dropped_total',
    help: 'Log lines dropped because the log could not be written: a full disk, or a reader that does not read.',
    registers,
  })

  /** for current states, and for each removed one until its last bytes are counted */
  const counted = new Map<EndpointState, Counted>()
  /** the result codes of each endpoint so far */
  const knownCodes = new Map<string, Set<'OK' | ErrorCode>>()

  function update(): void {
    const states = endpoints()
    for (const one of [...gauges, syncLast]) one.reset()
    draining.set(drainingSessions())
    droppedLines.reset()
    droppedLines.inc(droppedLogLines())
    // After a reload, an endpoint can have two states: the current one, and a retired one with the older sessions.
    for (const state of states) {
      const endpoint = { endpoint: state.name }
      const open = countOpen(state)
      sessions.inc(endpoint, open)
      loggingIn.inc(endpoint, state.sessions.size - open)
      queue.inc(endpoint, state.loginsQueued)
      if (!state.retired) setGauges(state)
    }
    for (const state of new Set([...counted.keys(), ...states])) {
      count(state)
      if (!states.includes(state)) counted.delete(state)
    }
    forgetOthers(new Set(states.map(state => state.name)))
  }

  function setGauges(state: EndpointState): void {
    const endpoint = { endpoint: state.name }
    const { certificateExpires: server, rolesAnywhereCertificateExpires } = state
    const local = state.localCertificateExpires()
    maxConnections.set(endpoint, state.maxConnections)
    credentialsOK.set(endpoint, state.credentialsFailed ? 0 : 1)
    if (state.credentialsExpire !== undefined) credentialsExpiry.set(endpoint, state.credentialsExpire / 1_000)
    if (server !== undefined) certificateExpiry.set({ ...endpoint, certificate: 'server' }, server / 1_000)
    if (local !== undefined) certificateExpiry.set({ ...endpoint, certificate: 'local' }, local / 1_000)
    if (rolesAnywhereCertificateExpires !== undefined) {
      certificateExpiry.set({ ...endpoint, certificate: 'roles_anywhere' }, rolesAnywhereCertificateExpires / 1_000)
    }
    for (const word of state.tunnel ? TUNNEL_WORDS : []) {
      tunnelState.set({ ...endpoint, state: word }, state.tunnel?.word === word ? 1 : 0)
    }
    if (state.sync) syncLast.set(endpoint, state.sync.at / 1_000)
  }

  /** Adds the difference since the last scrape: so counters survive a reload that replaces the state, and never decrease. */
  function count(state: EndpointState): void {
    const endpoint = state.name
    const before: Counted = counted.get(state) ?? {
      bytesFromClient: 0,
      bytesFromServer: 0,
      lineBytesFromClient: 0,
      lineBytesFromServer: 0,
      outcomes: new Map(),
      sync: {},
      restarts: 0,
    }
    const now = traffic(state)
    for (const [counter, direction, key] of byteCounters) {
      counter.inc({ endpoint, direction }, Math.max(0, now[key] - before[key]))
      now[key] = Math.max(now[key], before[key])
    }
    const codes = knownCodes.get(endpoint) ?? new Set()
    for (const [code, times] of new Map([['OK' as const, 0], ...state.outcomes])) {
      logins.inc({ endpoint, code, source: errorSource(code) }, Math.max(0, times - (before.outcomes.get(code) ?? 0)))
      codes.add(code)
    }
    knownCodes.set(endpoint, codes)
    const restarts = state.tunnel?.restarts ?? 0
    if (state.tunnel) tunnelRestarts.inc({ endpoint }, Math.max(0, restarts - before.restarts))
    const sync = { ...(state.sync?.counts ?? {}) }
    for (const outcome of state.sync ? SYNC_OUTCOMES : []) {
      syncPasses.inc({ endpoint, outcome }, Math.max(0, (sync[outcome] ?? 0) - (before.sync[outcome] ?? 0)))
    }
    counted.set(state, {
      ...now,
      sync,
      restarts,
      outcomes: new Map(state.outcomes),
    })
  }

  function forgetOthers(names: ReadonlySet<string>): void {
    for (const [endpoint, codes] of knownCodes) {
      if (names.has(endpoint)) continue
      for (const code of codes) logins.remove({ endpoint, code, source: errorSource(code) })
      for (const [counter, direction] of byteCounters) counter.remove({ endpoint, direction })
      for (const phase of PHASES) phaseDurations.remove({ endpoint, phase })
      loginDurations.remove({ endpoint })
      tunnelRestarts.remove({ endpoint })
      for (const outcome of SYNC_OUTCOMES) syncPasses.remove({ endpoint, outcome })
      knownCodes.delete(endpoint)
    }
  }

  return {
    contentType: register.contentType,
    async text() {
      update()
      return await register.metrics()
    },
    observe(endpoint, phase, milliseconds) {
      if (phase === 'total') loginDurations.observe({ endpoint }, milliseconds / 1_000)
      else phaseDurations.observe({ endpoint, phase }, milliseconds / 1_000)
    },
  }
}
