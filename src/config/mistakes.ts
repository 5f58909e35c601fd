/** The error for the mistakes of a configuration. */
import { ProxyError } from '../errors.ts'
import type { ConfigText } from './config-text.ts'

/**
 * CONFIG_INVALID with every problem once. Those outside of the file are first, then those in it by line and column, each with
 * its line of the file and a mark under the place.
 * @param file undefined: everything comes from flags and the environment
 */
export function invalidConfig(problems: readonly string[], file: ConfigText | undefined): ProxyError {
  const placed = [...new Set(problems)].map(problem => ({ problem, at: placeOf(problem, file) }))
  placed.sort((left, right) => left.at.line - right.at.line || left.at.column - right.at.column)
  const texts = placed.map(({ problem, at }) => {
    if (!file || at.line === 0) return problem
    return `${problem}\n${file.show(at.line, at.column).replace(/^/gm, '    ')}`
  })
  return new ProxyError('CONFIG_INVALID', texts.join(file ? '\n  ' : '; '))
}

/** The line and column that a problem begins with; 0 for one that is not about the file. */
function placeOf(problem: string, file: ConfigText | undefined): { line: number; column: number } {
  const inFile = file !== undefined && problem.startsWith(`${file.path}:`)
  const match = inFile ? /^:(\d+):(\d+): /.exec(problem.slice(file.path.length)) : null
  return { line: Number(match?.[1] ?? 0), column: Number(match?.[2] ?? 0) }
}
