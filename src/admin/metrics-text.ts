/**
 * The metrics of one endpoint in the text format of Prometheus, for the library. This needs no package, and has nothing about
 * the process: a host has that itself. docs/decisions/0187-metrics-without-a-package.md
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { LIBRARY_VERSION } from '../library-version.ts'
import type { EndpointState, Phase } from '../state.ts'
import {
  BUCKETS_SECONDS,
  BUILD_INFO,
  HISTOGRAMS,
  histogramOf,
  type Labels,
  METRICS,
  PREFIX,
  type Sample,
} from './metric-table.ts'

/** How long the logins of an endpoint took. */
export interface Durations {
  /** for EndpointState.onPhase */
  observe(phase: Phase | 'total', milliseconds: number): void
  text(endpoint: string): string
}

export function metricsText(state: EndpointState, durations: Durations): string {
  const families = METRICS.map(({ name, type, help, samples }) => {
    const own = samples(state).map(([value, labels]): Sample => [value, { endpoint: state.name, ...labels }])
    return familyText(name, type, help, linesOf(name, own))
  })
  const build = linesOf(BUILD_INFO.name, [[1, { version: LIBRARY_VERSION, node: process.version }]])
  return [familyText(BUILD_INFO.name, 'gauge', BUILD_INFO.help, build), ...families, durations.text(state.name)].join(
    '',
  )
}

interface Distribution {
  labels: Labels
  /** how many were at most as long as each bucket, and longer than the one before; the last for the rest */
  counts: number[]
  sum: number
}

export function createDurations(): Durations {
  const distributions = { phases: new Map<string, Distribution>(), logins: new Map<string, Distribution>() }
  return {
    observe(phase, milliseconds) {
      const [of, labels] = histogramOf(phase)
      const one = distributions[of].get(phase) ?? {
        labels,
        counts: new Array<number>(BUCKETS_SECONDS.length + 1).fill(0),
        sum: 0,
      }
      distributions[of].set(phase, one)
      const seconds = milliseconds / 1_000
      const bucket = BUCKETS_SECONDS.findIndex(limit => seconds <= limit)
      const index = bucket < 0 ? BUCKETS_SECONDS.length : bucket
      one.counts[index] = one.counts[index]! + 1
      one.sum += seconds
    },
    text(endpoint) {
      const families = (['phases', 'logins'] as const).map(of => {
        const { name, help } = HISTOGRAMS[of]
        const lines = [...distributions[of].values()].map(one => distributionText(name, endpoint, one))
        return familyText(name, 'histogram', help, lines.join(''))
      })
      return families.join('')
    },
  }
}

function distributionText(name: string, endpoint: string, { labels, counts, sum }: Distribution): string {
  const own = { endpoint, ...labels }
  let total = 0
  const buckets = counts.map((count, index): Sample => {
    total += count
    return [total, { le: `${BUCKETS_SECONDS[index] ?? '+Inf'}`, ...own }]
  })
  return (
    linesOf(`${name}_bucket`, buckets) + linesOf(`${name}_sum`, [[sum, own]]) + linesOf(`${name}_count`, [[total, own]])
  )
}

function familyText(name: string, type: string, help: string, lines: string): string {
  return lines === '' ? '' : `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} ${type}\n${lines}`
}

function linesOf(name: string, samples: readonly Sample[]): string {
  return samples
    .filter(([value]) => value !== undefined)
    .map(([value, labels = {}]) => `${PREFIX}${name}{${labelsText(labels)}} ${value}\n`)
    .join('')
}

function labelsText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, mark => (mark === '\n' ? '\\n' : `\\${mark}`))}"`)
    .join(',')
}
