/** Random choices that a seed repeats. */

export interface Random {
  /** an integer from 0 to `limit` - 1 */
  below(limit: number): number
  pick<Value>(values: readonly Value[]): Value
  bytes(length: number): Buffer
}

/** mulberry32: https://github.com/bryc/code/blob/master/jshash/PRNGs.md */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (limit: number) => next() % Math.max(1, limit)
  return {
    below,
    pick: values => values[below(values.length)]!,
    bytes: length => Buffer.from(Array.from({ length }, () => below(256))),
  }
}
