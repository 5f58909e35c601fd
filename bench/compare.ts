/** Runs the same work through every peer in turns, and makes a table of the medians. */
import {
  BARE,
  DIRECT_TLS,
  forgetPeak,
  HAPROXY,
  type Peer,
  type PeerSettings,
  PROXY,
  ROUTER,
  startPeers,
  stopPeers,
  usageOf,
} from './peers.ts'

export interface Sample {
  /** the value that ratios compare */
  value: number
  /** more numbers in the cell */
  details?: Record<string, number>
}

export interface Column {
  head: string
  measure(peer: Peer): Promise<Sample>
}

export interface Comparison {
  title: string
  columns: Column[]
  /** formats a cell; details contain at least `cpuSeconds` */
  cell(value: string, details: Record<string, number>): string
  runs: number
}

/** The rows with ratios. The ones without this proxy show how much an ideal proxy could gain. */
const RATIOS = [
  [PROXY, ROUTER],
  [PROXY, DIRECT_TLS],
  [PROXY, BARE],
  [HAPROXY, ROUTER],
  [DIRECT_TLS, ROUTER],
] as const

/** The medians of one peer and column. */
type Median = { value: number; details: Record<string, number> }

/** @param more starts further peers */
export async function compare(
  comparison: Comparison,
  settings: PeerSettings,
  more: ((settings: PeerSettings) => Promise<Peer>)[] = [],
): Promise<string> {
  const { title, columns, cell, runs } = comparison
  const peers = await startPeers(settings)
  for (const startPeer of more) peers.push(await startPeer(settings))
  try {
    const failures = new Map<Peer, string>()
    const medians = new Map<Peer, Median[]>(peers.map(peer => [peer, []]))
    for (const peer of peers) if (peer.pid) forgetPeak(peer.pid)
    for (const column of columns) {
      const samples = new Map<Peer, Sample[]>(peers.map(peer => [peer, []]))
      // Round 0 warms up.
      for (let round = 0; round <= runs; round++) {
        for (const peer of peers) {
          if (!peer.route || failures.has(peer)) continue
          try {
            const sample = await withCpu(peer, column)
            progress(`${title}, ${column.head}: ${peer.name}, ${round || 'warm-up'}: ${number(sample.value)}`)
            if (round > 0) samples.get(peer)!.push(sample)
          } catch (error) {
            failures.set(peer, `failed at ${column.head}: ${(error as Error).message.split('\n')[0]}`)
            progress(`${title}: ${peer.name} ${failures.get(peer)}`)
          }
        }
      }
      for (const peer of peers) if (!failures.has(peer)) medians.get(peer)!.push(medianOf(samples.get(peer)!))
    }
    const cells = (peer: Peer) => [
      ...columns.map((_, index) => {
        const median = medians.get(peer)![index]
        return median ? cell(number(median.value), median.details) : '–'
      }),
      peer.pid ? number(usageOf(peer.pid).peakMB) : '–',
    ]
    const rows = peers.map(peer => {
      if (!peer.route) return [peer.name, `not run: ${peer.missing}`]
      return [failures.has(peer) ? `${peer.name} (${failures.get(peer)})` : peer.name, ...cells(peer)]
    })
    const named = (name: string) => medians.get(peers.find(peer => peer.name === name)!) ?? []
    for (const [one, other] of RATIOS) {
      if (!peers.some(({ name }) => name === other)) continue
      const ratios = columns.map((_, index) => ratio(named(one)[index], named(other)[index]))
      rows.push([`${one === PROXY ? 'ours' : one} / ${other}`, ...ratios, ''])
    }
    return table(title, ['', ...columns.map(({ head }) => head), 'peak MB'], rows)
  } finally {
    await stopPeers(peers)
  }
}

async function withCpu(peer: Peer, column: Column): Promise<Sample> {
  const before = peer.pid ? usageOf(peer.pid).cpuSeconds : Number.NaN
  const sample = await column.measure(peer)
  const cpuSeconds = peer.pid ? usageOf(peer.pid).cpuSeconds - before : Number.NaN
  return { ...sample, details: { cpuSeconds, ...sample.details } }
}

function medianOf(samples: Sample[]): Median {
  const names = Object.keys(samples[0]?.details ?? {})
  return {
    value: median(samples.map(sample => sample.value)),
    details: Object.fromEntries(names.map(name => [name, median(samples.map(sample => sample.details![name]!))])),
  }
}

export function median(values: number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted.length / 2
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function ratio(one: Median | undefined, other: Median | undefined): string {
  return one && other && one.value >= 0 && other.value > 0 ? (one.value / other.value).toFixed(2) : '–'
}

/** A number with three significant digits. */
export function number(value: number): string {
  if (Number.isNaN(value)) return '–'
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(value >= 10 ? 1 : 2)
}

export function table(title: string, head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${head.map((_, index) => cells[index] ?? '').join(' | ')} |`
  const alignment = head.map((_, index) => (index === 0 ? '---' : '---:'))
  return [`**${title}**`, '', line(head), line(alignment), ...rows.map(line)].join('\n')
}

export function progress(text: string): void {
  process.stderr.write(`${text}\n`)
}
