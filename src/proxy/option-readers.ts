/**
 * Readers of options that a program gives, which may be of any type. A reader copies arrays and objects, so that changes after
 * the call have no effect. Where a value has the wrong type, its message says what it is and not what is in it.
 */
import { parseDuration } from '../duration.ts'
import type { OptionNames } from '../option-values.ts'
import { nearest } from '../text.ts'
import { rangeProblem } from '../value-checks.ts'

/** Where a value stands in the options, and how its mistakes are reported. */
export interface Place {
  report(problem: string): void
  /** @param why the option is needed */
  reportMissing(why?: string): void
  item(index: number): Place
  key(name: string): Place
}

export interface Reader<Value> {
  /** for docs/library.md */
  readonly type: string
  /** of a number, for docs/library.md */
  readonly range?: NumberValues
  /** of the parts of an object, or of the objects in an array */
  readonly parts?: Readonly<Record<string, Reader<unknown>>>
  /** @returns undefined for an invalid value, which is reported */
  read(given: unknown, at: Place): Value | undefined
}

/** @param path of an option or of a part of it: `localUsers[0].name` */
export function placeOf(path: string, names: OptionNames, problems: string[], index?: number): Place {
  const self = index === undefined ? path : `${path}[${index}]`
  return {
    report: problem => void problems.push(`${names.place(path, index)}: ${problem}`),
    reportMissing: why => void problems.push(`${names.place(path, index)} is missing${why ? `; ${why}` : ''}`),
    item: item => placeOf(self, names, problems, item),
    key: name => placeOf(`${self}.${name}`, names, problems),
  }
}

/** What `given` is, for messages. Never its content. */
export function kindOf(given: unknown): string {
  if (given === null || given === undefined || typeof given === 'boolean') return String(given)
  if (Array.isArray(given)) return 'an array'
  if (ArrayBuffer.isView(given)) return 'a buffer'
  if (typeof given === 'object') return 'then' in given ? 'a promise' : 'an object'
  return `a ${typeof given}`
}

/** More than any option needs. Linux's longest path has 4,096 bytes. */
const MAX_TEXT = 4_096

/**
 * @param example as it is written in a program
 * @param max characters
 */
export function text(
  example: string,
  problemOf?: (value: string) => string | undefined,
  max: number = MAX_TEXT,
): Reader<string> {
  return {
    type: 'string',
    read(given, at) {
      if (typeof given !== 'string') return void at.report(`needs a string such as ${example}, not ${kindOf(given)}`)
      const problem = textProblem(given, max) ?? problemOf?.(given)
      return problem === undefined ? given : void at.report(problem)
    },
  }
}

/** What is wrong with any text. */
function textProblem(value: string, max: number): string | undefined {
  if (value === '') return 'needs a value'
  if (value.length > max) return `has ${value.length} characters; at most ${max} are possible`
  return value.includes('\0') ? 'contains a NUL character' : undefined
}

export const flag: Reader<boolean> = {
  type: 'boolean',
  read(given, at) {
    return typeof given === 'boolean' ? given : void at.report(`needs true or false, not ${kindOf(given)}`)
  },
}

export function choice<Choice extends string>({ choices }: { readonly choices: readonly Choice[] }): Reader<Choice> {
  const list = choices.join(', ')
  return {
    type: choices.map(one => `'${one}'`).join(', '),
    read(given, at) {
      const found = choices.find(one => one === given)
      if (found !== undefined) return found
      const problem = typeof given === 'string' ? `${shown(given)} is not one of ${list}` : undefined
      return void at.report(problem ?? `needs one of ${list}, not ${kindOf(given)}`)
    },
  }
}

/** A text that no secret can be, cut. */
function shown(given: string): string {
  return JSON.stringify(given.length > 40 ? `${given.slice(0, 40)}…` : given)
}

interface NumberValues {
  readonly default: number
  readonly min: number
  readonly max: number
}

/** @param noLimit what 0 means, for somebody who gives Infinity */
export function milliseconds(values: NumberValues, noLimit?: string): Reader<number> {
  return number(values, 'a number of milliseconds', noLimit)
}

/** @param noLimit what 0 means, for somebody who gives Infinity */
export function count(values: NumberValues, noLimit?: string): Reader<number> {
  const { read, ...reader } = number(values, 'a number', noLimit)
  return {
    ...reader,
    read(given, at) {
      const value = read(given, at)
      return value === undefined || Number.isInteger(value) ? value : void at.report(`${value} is not a whole number`)
    },
  }
}

/** @param noLimit what 0 means, for somebody who gives Infinity */
export function rate(values: NumberValues, noLimit?: string): Reader<number> {
  return number(values, 'a number', noLimit)
}

function number(values: NumberValues, what: string, noLimit: string | undefined): Reader<number> {
  return {
    type: 'number',
    range: values,
    read(given, at) {
      if (typeof given !== 'number') return void at.report(`needs ${what}, not ${numberMeant(given, values)}`)
      const problem = rangeProblem(given, values)
      const zero = given === Number.POSITIVE_INFINITY && noLimit !== undefined ? `; write 0 for ${noLimit}` : ''
      return problem === undefined ? given + 0 : void at.report(problem + zero) // -0 becomes 0
    },
  }
}

/** What `given` is, with the number to write if there is one. */
function numberMeant(given: unknown, values: NumberValues): string {
  const value = typeof given === 'bigint' ? Number(given) : typeof given === 'string' ? numberIn(given) : undefined
  if (value === undefined || rangeProblem(value, values)) return kindOf(given)
  return `${typeof given === 'string' ? shown(given) : kindOf(given)}; write ${value}`
}

function numberIn(given: string): number | undefined {
  return /^\s*\d+(\.\d+)?\s*$/.test(given) ? Number(given) : parseDuration(given.trim())
}

/** @param example of an array, as it is written in a program */
export function list<Item>(item: Reader<Item>, example: string): Reader<readonly Item[]> {
  const { parts } = item
  return {
    type: `array of ${item.type}s`,
    ...(parts ? { parts } : {}),
    read(given, at) {
      if (!Array.isArray(given)) return void at.report(`needs an array such as ${example}, not ${kindOf(given)}`)
      const items = Array.from(given, (one, index) => item.read(one, at.item(index)))
      return items.every(one => one !== undefined) ? items : undefined
    },
  }
}

/** The readers of the parts of an object. */
export type Parts<Value> = { readonly [Key in keyof Value]-?: Reader<NonNullable<Value[Key]>> }

/**
 * An object with these parts alone. A part that is undefined counts as absent.
 * @param required parts that must not be absent
 * @param why they are required
 * @param whatElse finds what is wrong with valid parts beside one another
 */
export function object<Value extends object>(
  parts: Parts<Value>,
  required: readonly (keyof Value & string)[],
  { why, whatElse }: { why?: string; whatElse?: (value: Value) => string | undefined } = {},
): Reader<Value> {
  const names = Object.keys(parts)
  return {
    type: 'object',
    parts: parts as Readonly<Record<string, Reader<unknown>>>,
    read(given, at) {
      if (!isObject(given)) return void at.report(`needs an object with ${names.join(', ')}, not ${kindOf(given)}`)
      const unknown = unknownKeys(given, names)
      for (const name of unknown) at.key(printable(name)).report(`unknown option${suggestion(name, names)}`)
      const { values, invalid } = readParts(given, parts, at.key)
      const missing = required.filter(name => values[name] === undefined && !invalid.has(name))
      for (const name of missing) at.key(name).reportMissing(why)
      if (unknown.length > 0 || invalid.size > 0 || missing.length > 0) return undefined
      const problem = whatElse?.(values as Value)
      return problem === undefined ? (values as Value) : void at.report(problem)
    },
  }
}

/** @returns the values of the valid parts, and the names of the invalid ones */
export function readParts<Value extends object>(
  given: object,
  parts: Parts<Value>,
  placeOfPart: (name: string) => Place,
): { values: Partial<Value>; invalid: ReadonlySet<string> } {
  const values: Record<string, unknown> = {}
  const invalid = new Set<string>()
  for (const [name, reader] of Object.entries(parts as Record<string, Reader<unknown>>)) {
    const at = placeOfPart(name)
    try {
      const one = ownOrInherited(given, name)
      if (one === undefined) continue
      const value = reader.read(one, at)
      if (value === undefined) invalid.add(name)
      else values[name] = value
    } catch {
      // Of a getter. Its message may hold anything.
      at.report('is unreadable: the object that holds it throws an error')
      invalid.add(name)
    }
  }
  return { values: values as Partial<Value>, invalid }
}

/** What a program gave under `name`, also by a class or a prototype; never what every object of the process has. */
function ownOrInherited(given: object, name: string): unknown {
  return name in Object.prototype && !Object.hasOwn(given, name) ? undefined : (given as Record<string, unknown>)[name]
}

/** An object with named values: no array, and no function. @throws TypeError for a revoked Proxy */
export function isObject(given: unknown): given is object {
  return typeof given === 'object' && given !== null && !Array.isArray(given)
}

/** The names in `given` that are not among `known`, also inherited ones. A class's methods are not enumerable. */
export function unknownKeys(given: object, known: readonly string[]): string[] {
  const unknown: string[] = []
  for (const name in given) {
    if (known.includes(name) || (name in Object.prototype && !Object.hasOwn(given, name))) continue
    if (ownOrInherited(given, name) !== undefined) unknown.push(name)
  }
  return unknown
}

/** No option has a name as long. */
const MAX_NAME = 60

/** A name as a message shows it. */
export function printable(name: string): string {
  return name.length <= MAX_NAME && /^[\w$-]+$/.test(name) ? name : shown(name)
}

/** `; did you mean …?` if a known name is near, or begins with what is written, also in snake case or kebab case; else ''. */
export function suggestion(name: string, known: readonly string[]): string {
  if (name.length > MAX_NAME) return ''
  const bare = (text: string) => text.replace(/[^a-z0-9]/gi, '').toLowerCase()
  const byBare = new Map(known.map(one => [bare(one), one]))
  const [longer] = [...byBare.keys()]
    .filter(one => bare(name).length >= 3 && one.startsWith(bare(name)))
    .sort((left, right) => left.length - right.length)
  const found = byBare.get(longer ?? nearest(bare(name), [...byBare.keys()]) ?? '')
  return found === undefined ? '' : `; did you mean ${found}?`
}
