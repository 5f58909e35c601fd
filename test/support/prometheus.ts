/** A strict parser of the text format of Prometheus, and promtool. https://prometheus.io/docs/instrumenting/exposition_formats/ */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { ensureProgram } from './packages.ts'

export interface Metric {
  type: string
  help: string
  samples: Sample[]
}

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"'
// prom-client writes Nan. Prometheus accepts it, because Go's ParseFloat ignores case.
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (Na[nN]|[+-]Inf|[-+0-9.e]+)$`)

/** Each metric with its samples. @throws for an invalid line, or a sample before its HELP and TYPE */
export function parseMetrics(text: string): Map<string, Metric> {
  if (!text.endsWith('\n')) throw new Error('no line feed at the end')
  const metrics = new Map<string, Metric>()
  for (const line of text.split('\n')) {
    if (line === '') continue
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (kind === 'HELP') {
      if (metrics.has(name)) throw new Error(`twice: ${name}`)
      metrics.set(name, { type: '', help: rest, samples: [] })
    } else if (kind === 'TYPE') {
      const metric = metrics.get(name)
      if (!metric || metric.type) throw new Error(`not behind its HELP: ${line}`)
      metric.type = rest
    } else {
      const match = SAMPLE.exec(line)
      if (!match) throw new Error(`not of the format: ${line}`)
      const [, sample = '', labels = '', value = ''] = match
      const metric = metrics.get(sample) ?? metrics.get(sample.replace(/_(bucket|sum|count)$/, ''))
      if (!metric?.type) throw new Error(`without HELP and TYPE: ${line}`)
      const pairs = Array.from(labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, label, text]) => [label, text])
      metric.samples.push({ name: sample, labels: Object.fromEntries(pairs), value: toNumber(value) })
    }
  }
  return metrics
}

function toNumber(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (!/^nan$/i.test(text) && Number.isNaN(Number(text))) throw new Error(`not a number: ${text}`)
  return Number(text)
}

/** The value of the sample with exactly these labels; undefined if there is none. */
export function valueIn(metrics: Map<string, Metric>, name: string, labels: Record<string, string> = {}) {
  const wanted = JSON.stringify(Object.entries(labels).sort())
  return samples(metrics, name).find(sample => JSON.stringify(Object.entries(sample.labels).sort()) === wanted)?.value
}

/** The samples with this name and any labels. */
export function samples(metrics: Map<string, Metric>, name: string): Sample[] {
  return [...metrics.values()].flatMap(metric => metric.samples).filter(sample => sample.name === name)
}

/** The output of promtool; '' if it finds no problem. */
export async function promtool(args: readonly string[], input = ''): Promise<string> {
  const child = execFile(await ensureProgram('promtool', 'prometheus'), args)
  let output = ''
  child.stdout?.on('data', text => {
    output += text
  })
  child.stderr?.on('data', text => {
    output += text
  })
  child.stdin?.end(input)
  const [code] = await once(child, 'close')
  return code === 0 ? '' : output || `exit code ${code}`
}
