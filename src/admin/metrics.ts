/** What Prometheus reads at /metrics. Labels are bounded: no user, address or message is one. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { ERRORS, type ErrorCode, type ErrorSource } from '../error-codes.ts'
import { countOpen, type EndpointState, PHASES, type Phase, SYNC_OUTCOMES, traffic } from '../state.ts'

export interface Metrics {
  /** of `text`, for the Content-Type header */
  contentType: string
  /** all metrics as they stand now, in the text format of Prometheus */
  text(): Promise<string>
  /** counts a step of a login; for EndpointState.onPhase */
  observe(endpoint: string, phase: Phase | 'total', milliseconds: number): void
}

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Gauges of prom-client that are named like counters, and go through all handles of the process at each scrape. */
const UNWANTED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** The label that says whose fault an outcome is. */
function sourceOf(code: 'OK' | ErrorCode): ErrorSource | 'none' {
  return code === 'OK' ? 'none' : ERRORS[code].source
}

/** What has been counted of a state so far. */
interface Counted {
  bytesFromClient: number
  bytesFromServer: number
  outcomes: Map<'OK' | ErrorCode, number>
  sync: Partial<Record<(typeof SYNC_OUTCOMES)[number], number>>
}

/** @param endpoints those that are served now; they may come and go, and what is gone leaves the metrics with the next scrape */
export function createMetrics(endpoints: () => readonly EndpointState[], version: string): Metrics {
  const register = new Registry()
  const registers = [register]
  collectDefaultMetrics({ register })
  for (const name of UNWANTED) register.removeSingleMetric(name)

  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `mysql_iam_proxy_${name}`, help, labelNames, registers })
  gauge('build_info', 'Always 1; the versions are its labels.', 'version', 'node').set(
    { version, node: process.version },
    1,
  )

  const sessions = gauge('sessions', 'Clients that are logged in.', 'endpoint')
  const loggingIn = gauge('logins_in_progress', 'Clients that have connected and are not logged in yet.', 'endpoint')
  const maxConnections = gauge('max_connections', 'Connections that are let in at a time; 0: no limit.', 'endpoint')
  const queue = gauge('logins_queued', 'Logins that wait for their turn.', 'endpoint')
  const credentialsOK = gauge('credentials_ok', 'Whether the last look-up of AWS credentials succeeded.', 'endpoint')
  const credentialsExpiry = gauge(
    'credentials_expiry_timestamp_seconds',
    'When the AWS credentials end, where they do.',
    'endpoint',
  )
  const certificateExpiry = gauge(
    'certificate_expiry_timestamp_seconds',
    'When a certificate ends: that of the database (server), seen at the last login, or that shown to clients (local).',
    'endpoint',
    'certificate',
  )
  const gauges = [
    ...[sessions, loggingIn, maxConnections, queue],
    ...[credentialsOK, credentialsExpiry, certificateExpiry as Gauge<string>],
  ]

  const logins = new Counter({
    name: 'mysql_iam_proxy_logins_total',
    help: 'Logins by result: OK or an error code, and the source of the error (none for OK).',
    labelNames: ['endpoint', 'code', 'source'],
    registers,
  })
  const bytes = new Counter({
    name: 'mysql_iam_proxy_bytes_total',
    help: 'Bytes relayed after the login.',
    labelNames: ['endpoint', 'direction'],
    registers,
  })
  const handshake = new Histogram({
    name: 'mysql_iam_proxy_login_phase_duration_seconds',
    help: 'How long the steps of a login take; total: from accept to OK_Packet.',
    labelNames: ['endpoint', 'phase'],
    buckets: SECONDS,
    registers,
  })

  const syncPasses = new Counter({
    name: 'mysql_iam_proxy_sync_passes_total',
    help: 'Passes of sync-targets, by how they came out: unchanged, changed, refused, failed.',
    labelNames: ['endpoint', 'outcome'],
    registers,
  })
  const syncLast = gauge('sync_last_pass_timestamp_seconds', 'When sync-targets last looked.', 'endpoint')

  /** what has been counted of each state: those that are served, and those before them until they are counted to their end */
  const counted = new Map<EndpointState, Counted>()
  /** the error codes seen of each endpoint */
  const known = new Map<string, Set<'OK' | ErrorCode>>()

  function fill(): void {
    const states = endpoints()
    for (const one of [...gauges, syncLast]) one.reset()
    // After a reload, an endpoint may be there twice: as it is, and as it was for the sessions from before.
    for (const state of states) {
      const endpoint = { endpoint: state.name }
      const open = countOpen(state)
      sessions.inc(endpoint, open)
      loggingIn.inc(endpoint, state.sessions.size - open)
      queue.inc(endpoint, state.loginsQueued)
      if (!state.retired) describe(state)
    }
    for (const state of new Set([...counted.keys(), ...states])) {
      count(state)
      if (!states.includes(state)) counted.delete(state)
    }
    forget(new Set(states.map(state => state.name)))
  }

  function describe(state: EndpointState): void {
    const endpoint = { endpoint: state.name }
    const { certificateExpires: server, localCertificateExpires: local } = state
    maxConnections.set(endpoint, state.maxConnections)
    credentialsOK.set(endpoint, state.credentialsFailed ? 0 : 1)
    if (state.credentialsExpire !== undefined) credentialsExpiry.set(endpoint, state.credentialsExpire / 1_000)
    if (server !== undefined) certificateExpiry.set({ ...endpoint, certificate: 'server' }, server / 1_000)
    if (local !== undefined) certificateExpiry.set({ ...endpoint, certificate: 'local' }, local / 1_000)
    if (state.sync) syncLast.set(endpoint, state.sync.at / 1_000)
  }

  /** By differences, so that the counters go on where a reload replaces the state, and never go backwards. */
  function count(state: EndpointState): void {
    const endpoint = state.name
    const before: Counted = counted.get(state) ?? {
      bytesFromClient: 0,
      bytesFromServer: 0,
      outcomes: new Map(),
      sync: {},
    }
    const { bytesFromClient, bytesFromServer } = traffic(state)
    bytes.inc({ endpoint, direction: 'from_client' }, Math.max(0, bytesFromClient - before.bytesFromClient))
    bytes.inc({ endpoint, direction: 'from_server' }, Math.max(0, bytesFromServer - before.bytesFromServer))
    const codes = known.get(endpoint) ?? new Set()
    for (const [code, times] of new Map([['OK' as const, 0], ...state.outcomes])) {
      logins.inc({ endpoint, code, source: sourceOf(code) }, Math.max(0, times - (before.outcomes.get(code) ?? 0)))
      codes.add(code)
    }
    known.set(endpoint, codes)
    const sync = { ...(state.sync?.counts ?? {}) }
    for (const outcome of state.sync ? SYNC_OUTCOMES : []) {
      syncPasses.inc({ endpoint, outcome }, Math.max(0, (sync[outcome] ?? 0) - (before.sync[outcome] ?? 0)))
    }
    counted.set(state, {
      sync,
      bytesFromClient: Math.max(bytesFromClient, before.bytesFromClient),
      bytesFromServer: Math.max(bytesFromServer, before.bytesFromServer),
      outcomes: new Map(state.outcomes),
    })
  }

  function forget(names: ReadonlySet<string>): void {
    for (const [endpoint, codes] of known) {
      if (names.has(endpoint)) continue
      for (const code of codes) logins.remove({ endpoint, code, source: sourceOf(code) })
      for (const direction of ['from_client', 'from_server']) bytes.remove({ endpoint, direction })
      for (const phase of [...PHASES, 'total']) handshake.remove({ endpoint, phase })
      for (const outcome of SYNC_OUTCOMES) syncPasses.remove({ endpoint, outcome })
      known.delete(endpoint)
    }
  }

  return {
    contentType: register.contentType,
    async text() {
      fill()
      return await register.metrics()
    },
    observe(endpoint, phase, milliseconds) {
      handshake.observe({ endpoint, phase }, milliseconds / 1_000)
    },
  }
}
