/** Makes inputs out of those that are kept, and keeps what reaches code that no other has reached. */
import type { Coverage } from './coverage.ts'
import { LONGEST, mutate } from './mutate.ts'
import type { Random } from './random.ts'

export interface Failure {
  input: Buffer
  message: string
}

/** Resolves with what failed of several inputs; says when each was tried. */
export type Check = (inputs: Buffer[], onTried?: (input: Buffer) => void) => Failure[] | Promise<Failure[]>

/** Inputs beyond which a run's corpus does not grow: more would only slow the choice of good ones. */
const MOST = 2_000

export interface Fuzzer {
  /** tries a batch, and keeps what goes further; resolves with what failed */
  step(): Promise<Failure[]>
  tried: number
  /** what the run has added to the corpus */
  added: Buffer[]
}

export interface FuzzerOptions {
  /** inputs of a step */
  batch: number
  /** without it, nothing is kept */
  coverage?: Coverage
  /**
   * When to look at it. 'each': after each input, which is kept where something new ran; of sessions at the same time,
   * it may be another's doing. 'batch': parsers are done sooner than a look at the coverage, so that a batch is tried
   * again, half by half, where something new ran.
   */
  look: 'each' | 'batch'
}

export function createFuzzer(given: readonly Buffer[], random: Random, check: Check, options: FuzzerOptions): Fuzzer {
  const { coverage } = options
  const corpus = [...given]
  const fuzzer: Fuzzer = {
    tried: 0,
    added: [],
    async step() {
      const inputs = Array.from({ length: options.batch }, () =>
        mutate(random.pick(corpus), random, random.pick(corpus)),
      )
      fuzzer.tried += inputs.length
      if (!coverage || corpus.length >= MOST) return await check(inputs)
      if (options.look === 'each') return await check(inputs, keepIfNew)
      const failures = await check(inputs)
      if (failures.length === 0 && coverage.look().isNew) await keepWhatIsNew(inputs)
      return failures
    },
  }
  const keepIfNew = (input: Buffer) => {
    const look = coverage!.look()
    if (!look.isNew) return
    look.learn()
    corpus.push(input)
    fuzzer.added.push(input)
  }
  const keepWhatIsNew = async (inputs: Buffer[]) => {
    await check(inputs)
    if (inputs.length === 1) return keepIfNew(inputs[0]!)
    if (!coverage!.look().isNew) return
    const half = inputs.length >> 1
    await keepWhatIsNew(inputs.slice(0, half))
    await keepWhatIsNew(inputs.slice(half))
  }
  return fuzzer
}

/** Milliseconds that one input may take. It is not a measure of speed: a parser with a fault takes minutes. */
const SLOW = 30_000

/** Runs a parser's check over inputs. */
export function checkAll(check: (input: Buffer) => void | Promise<void>): Check {
  return async inputs => {
    const failures: Failure[] = []
    for (const input of inputs) {
      const started = performance.now()
      try {
        await check(input)
      } catch (error) {
        failures.push({ input, message: `${(error as Error).stack}` })
      }
      const took = performance.now() - started
      if (took > SLOW) failures.push({ input, message: `took ${took.toFixed()} ms` })
    }
    return failures
  }
}

/** A shorter input that still fails: pieces are left out while it does. */
export async function minimise(input: Buffer, fails: (input: Buffer) => boolean | Promise<boolean>): Promise<Buffer> {
  let shortest = input.subarray(0, LONGEST)
  for (let size = Math.ceil(shortest.length / 2); size >= 1; size = size > 1 ? Math.ceil(size / 2) : 0) {
    for (let at = 0; at < shortest.length; ) {
      const without = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + size)])
      if (await fails(without)) shortest = without
      else at += size
    }
  }
  return shortest
}
