/** The options of `statusPage`. A mistake must not open it to others. */
import { ProxyError } from '../errors.ts'
import { LIBRARY_NAMES } from '../option-values.ts'
import { flag, isObject, kindOf, placeOf, printable, readParts, suggestion, unknownKeys } from './option-readers.ts'
import type { StatusPageOptions } from './proxy-api.ts'

/** The same with the defaults. */
export type CheckedPageOptions = Readonly<Record<keyof StatusPageOptions, boolean>>

const PARTS = { trustNetwork: flag, closeSessions: flag }
const NAMES = Object.keys(PARTS)

/** @throws ProxyError CONFIG_INVALID, with every mistake */
export function checkPageOptions(given: unknown = {}): CheckedPageOptions {
  const problems: string[] = []
  const at = (name: string) => placeOf(name, LIBRARY_NAMES, problems)
  const options = { trustNetwork: false, closeSessions: false }
  if (isObject(given)) {
    for (const name of unknownKeys(given, NAMES)) at(printable(name)).report(`unknown option${suggestion(name, NAMES)}`)
    Object.assign(options, readParts<StatusPageOptions>(given, PARTS, at).values)
  } else problems.push(`needs an object such as { closeSessions: true }, not ${kindOf(given)}`)
  if (problems.length === 0) return options
  const hint = 'The options of statusPage are trustNetwork and closeSessions, each true or false.'
  throw new ProxyError('CONFIG_INVALID', `statusPage: ${problems.join('; ')}`, { hint })
}
