/** The metrics at /metrics, for Prometheus: those of metric-table.ts for all endpoints, and those of the process. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { droppedLogLines } from '../log-sink.ts'
import type { EndpointState, Phase } from '../state.ts'
import { BUCKETS_SECONDS, BUILD_INFO, HISTOGRAMS, histogramOf, type Labels, METRICS, PREFIX } from './metric-table.ts'

export interface Metrics {
  /** of `text`, for the Content-Type header */
  contentType: string
  /** The current metrics in the text format of Prometheus. */
  text(): Promise<string>
  /** Records how long a login took, or a phase of it; for EndpointState.onPhase. */
  observe(endpoint: string, phase: Phase | 'total', milliseconds: number): void
}

/** Default gauges of prom-client with names of counters. Each scrape would list all handles of the process for them. */
const UNWANTED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

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

  const described = ({ name, help }: { name: string; help: string }, ...labelNames: string[]) => ({
    name: `${PREFIX}${name}`,
    help,
    labelNames,
    registers,
  })
  new Gauge(described(BUILD_INFO, 'version', 'node')).set({ version, node: process.version }, 1)
  const draining = new Gauge(
    described({
      name: 'draining_sessions',
      help: 'Sessions in the processes that this one has replaced at upgrades.',
    }),
  )
  const droppedLines = new Counter(
    described({
      name: 'log_lines_dropped_total',
      help: 'Log lines dropped because the log could not be written: a full disk, or a reader that does not read.',
    }),
  )
  const rows = METRICS.map(metric => ({
    ...metric,
    description: described(metric, 'endpoint', ...(metric.labels ?? [])),
  }))
  const gauges = rows
    .filter(({ type }) => type === 'gauge')
    .map(({ description, ...row }) => ({ ...row, gauge: new Gauge(description) }))
  const counters = rows
    .filter(({ type }) => type === 'counter')
    .map(({ description, ...row }) => ({ ...row, counter: new Counter(description) }))
  const histogram = (of: keyof typeof HISTOGRAMS) =>
    new Histogram({ ...described(HISTOGRAMS[of], 'endpoint', ...HISTOGRAMS[of].labels), buckets: BUCKETS_SECONDS })
  const histograms = { phases: histogram('phases'), logins: histogram('logins') }

  /** what the counters have of each state; of a removed one until its last values are counted */
  const counted = new Map<EndpointState, Map<string, number>>()
  /** the samples of counters of each endpoint so far */
  const known = new Map<string, Map<string, [Counter, Labels]>>()

  function update(): void {
    const states = endpoints()
    draining.set(drainingSessions())
    droppedLines.reset()
    droppedLines.inc(droppedLogLines())
    // After a reload, an endpoint can have two states: the current one, and a retired one with the older sessions.
    for (const { gauge, ofRetired, samples } of gauges) {
      gauge.reset()
      for (const state of states) {
        if (state.retired && !ofRetired) continue
        for (const [value, labels] of samples(state)) {
          if (value !== undefined) gauge.inc({ endpoint: state.name, ...labels }, value)
        }
      }
    }
    for (const state of new Set([...counted.keys(), ...states])) {
      count(state)
      if (!states.includes(state)) counted.delete(state)
    }
    forgetOthers(new Set(states.map(state => state.name)))
  }

  /** Adds the difference since the last scrape: so counters survive a reload that replaces the state, and never decrease. */
  function count(state: EndpointState): void {
    const before = counted.get(state) ?? new Map<string, number>()
    const ofEndpoint = known.get(state.name) ?? new Map<string, [Counter, Labels]>()
    for (const { name, counter, samples } of counters) {
      for (const [value, ofSample] of samples(state)) {
        if (value === undefined) continue
        const labels = { endpoint: state.name, ...ofSample }
        const key = `${name} ${Object.values(labels).join(' ')}`
        const last = before.get(key) ?? 0
        counter.inc(labels, Math.max(0, value - last))
        before.set(key, Math.max(value, last))
        ofEndpoint.set(key, [counter, labels])
      }
    }
    counted.set(state, before)
    known.set(state.name, ofEndpoint)
  }

  function forgetOthers(names: ReadonlySet<string>): void {
    for (const [endpoint, samples] of known) {
      if (names.has(endpoint)) continue
      for (const [counter, labels] of samples.values()) counter.remove(labels)
      for (const of of ['phases', 'logins'] as const) {
        for (const labels of HISTOGRAMS[of].all) histograms[of].remove({ endpoint, ...labels })
      }
      known.delete(endpoint)
    }
  }

  return {
    contentType: register.contentType,
    async text() {
      update()
      return await register.metrics()
    },
    observe(endpoint, phase, milliseconds) {
      const [of, labels] = histogramOf(phase)
      histograms[of].observe({ endpoint, ...labels }, milliseconds / 1_000)
    },
  }
}
