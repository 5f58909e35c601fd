/** Judges a cell of the page from the client's reports, through the proxy and directly. */
import { isDeepStrictEqual } from 'node:util'
import type { Behaviour, Step } from './behaviours.ts'
import type { Report } from './client-run.ts'

export type Outcome =
  /** correct, and the same as directly if that can be compared */
  | 'passed'
  /** correct, but not directly */
  | 'passed, not directly'
  /** not as expected, but the same directly: a property of the client */
  | 'as direct'
  | 'failed'
  /** the client shows only a part of an error of the proxy, as of other errors */
  | 'in part'
  /** the client shows a different error instead, as of other errors */
  | 'hidden'
  /** the client does not support it */
  | 'unsupported'
  /** the proxy does not support it */
  | 'not run'

export interface Cell {
  outcome: Outcome
  /** the reason, if not 'passed' */
  detail?: string | undefined
}

export interface Case {
  behaviour: Behaviour
  /** of the proxied run */
  steps: Step[]
  proxied: Report | undefined
  direct?: { steps: Step[]; report: Report | undefined } | undefined
  /** names that differ between the two */
  names: string[]
}

export function judge({ behaviour, steps, proxied, direct, names }: Case): Cell {
  if (!proxied) return { outcome: 'not run', detail: 'the client did not report it' }
  if (proxied.unsupported !== undefined) return { outcome: 'unsupported', detail: proxied.unsupported }
  const wrong = whatIsWrong(behaviour, steps, proxied)
  const directly = direct?.report
  if (!direct || !directly) return wrong ? { outcome: 'failed', detail: wrong } : { outcome: 'passed' }
  const wrongDirectly = whatIsWrong(behaviour, direct.steps, directly)
  const same = isDeepStrictEqual(comparable(steps, proxied, names), comparable(direct.steps, directly, names))
  if (wrong) return { outcome: wrongDirectly && same ? 'as direct' : 'failed', detail: wrong }
  if (wrongDirectly) return { outcome: 'passed, not directly', detail: wrongDirectly }
  if (same) return { outcome: 'passed' }
  return { outcome: 'failed', detail: difference(steps, proxied, directly, names) }
}

function whatIsWrong(behaviour: Behaviour, steps: Step[], report: Report): string | undefined {
  const { values = [], error } = report
  if (error) {
    const step = steps[values.length]
    const doing = step ? `${step.do}${step.sql ? ` \`${short(step.sql)}\`` : ''}: ` : ''
    const [errno, sqlState, message] = error
    return `${doing}${errno ? `${errno} ` : ''}${sqlState ? `(${sqlState}) ` : ''}${message}`
  }
  for (const [i, { expect, do: action, sql }] of steps.entries()) {
    if (expect !== undefined && !fits(action, expect, values[i])) {
      const doing = sql ? `${action} \`${short(sql)}\`` : action
      return `${doing}: ${short(JSON.stringify(values[i]))} instead of ${short(JSON.stringify(expect))}`
    }
  }
  return behaviour.verify?.(values)
}

/** Of an error, only the number is compared, and the SQLSTATE if the driver reports it. */
function fits(action: string, expected: unknown, value: unknown): boolean {
  if (action !== 'fails' && action !== 'connectFails') return isDeepStrictEqual(value, expected)
  const [errno, sqlState] = expected as [number, string]
  const [itsErrno, itsSqlState] = (value ?? []) as [number, string]
  return itsErrno === errno && (itsSqlState === '' || itsSqlState === sqlState)
}

function comparable(steps: Step[], { values = [], error, unsupported }: Report, names: string[]): unknown {
  const stable = values.map((value, i) => (steps[i]?.volatile ? undefined : value))
  return JSON.parse(anonymous(JSON.stringify([stable, error, unsupported]), names))
}

function difference(steps: Step[], proxied: Report, direct: Report, names: string[]): string {
  for (const [i, step] of steps.entries()) {
    if (step.volatile) continue
    const [one, other] = [proxied, direct].map(({ values = [] }) => anonymous(JSON.stringify(values[i] ?? null), names))
    if (one !== other) {
      const start = Math.max(0, firstDifference(one!, other!) - 20)
      return `${short(step.sql ?? step.do)}: ${short(one!.slice(start))}, directly ${short(other!.slice(start))}`
    }
  }
  return 'different directly'
}

function firstDifference(one: string, other: string): number {
  let at = 0
  while (at < one.length && one[at] === other[at]) at++
  return at
}

/** Longer names first, because one may start with another. */
function anonymous(text: string, names: string[]): string {
  return [...names]
    .sort((a, b) => b.length - a.length)
    .reduce((result, name) => result.replaceAll(name, 'SOMEBODY'), text)
}

function short(text: string): string {
  const line = text.replace(/\s+/g, ' ').replaceAll('`', '')
  return line.length > 120 ? `${line.slice(0, 117)}…` : line
}
