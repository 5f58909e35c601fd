/** What happened in a run of `npm run chaos`, and whether a fault explains a failure. */
import { setTimeout as sleep } from 'node:timers/promises'

/** An answer that no fault explains: wrong bytes, a lost row. */
export class WrongAnswer extends Error {}

export interface RunRecord {
  /** faults played, by kind */
  faults: Map<string, number>
  operations: Map<string, number>
  logins: number
  /** logins by COM_CHANGE_USER, which are among the logins too */
  changedUsers: number
  /** connections that bad clients opened or tried to open; a flood has many */
  badConnections: number
  fuzzedInputs: number
  /** failures of honest clients while a disruptive fault was in effect */
  explained: number
  unexplained: string[]
  /** counts a fault, and until the result is called honest clients may fail */
  disrupt(kind: string): () => void
  play(kind: string): void
  /** this program itself stood still: its honest clients were late, as a stranger's machine may be */
  stall(from: number, to: number): void
  /** how often it did */
  stalls: number
  /** runs an operation of an honest client. @param since how far back a fault may lie that broke what it uses */
  honest(kind: string, work: () => Promise<void>, since?: number): Promise<boolean>
  fail(message: string): void
}

/** An operation that takes longer hangs. It waits for faults and a busy machine, so this is long. */
const HANG_MS = 300_000

/** After a failure. */
const PAUSE_MS = 5

const MAX_MESSAGES = 50

export function createRecord(): RunRecord {
  const disruptions: { from: number; to: number }[] = []
  const increment = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1)
  const isDisrupted = (from: number, to: number) => disruptions.some(one => one.from <= to && one.to >= from)
  const record: RunRecord = {
    faults: new Map(),
    operations: new Map(),
    logins: 0,
    changedUsers: 0,
    badConnections: 0,
    stalls: 0,
    fuzzedInputs: 0,
    explained: 0,
    unexplained: [],
    play: kind => increment(record.faults, kind),
    stall(from, to) {
      record.stalls++
      disruptions.push({ from, to })
    },
    disrupt(kind) {
      increment(record.faults, kind)
      const disruption = { from: performance.now(), to: Number.POSITIVE_INFINITY }
      disruptions.push(disruption)
      return () => {
        disruption.to = performance.now()
      }
    },
    async honest(kind, work, since = performance.now()) {
      let timer: NodeJS.Timeout | undefined
      const hang = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new WrongAnswer(`no result after ${HANG_MS / 1_000} s`)), HANG_MS)
      })
      try {
        await Promise.race([work(), hang])
        increment(record.operations, kind)
        return true
      } catch (thrown) {
        const error = thrown as Error & { errno?: number }
        const isExplained = !(error instanceof WrongAnswer) && isDisrupted(since, performance.now())
        if (isExplained) record.explained++
        else record.fail(`${kind}: ${error.errno ?? ''} ${error.stack}`)
        // A client that fails at once and tries again would let nothing else run: a refused connect() needs no event.
        await sleep(PAUSE_MS)
        return false
      } finally {
        clearTimeout(timer)
      }
    },
    fail(message) {
      if (record.unexplained.length < MAX_MESSAGES) process.stderr.write(`unexplained: ${message}\n`)
      record.unexplained.push(message)
    },
  }
  return record
}
