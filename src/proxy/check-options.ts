/** Checks the options of `createProxy`: each by itself, then beside one another. */
import { rolesAnywhereProblems } from '../aws/roles-anywhere-options.ts'
import { ProxyError } from '../errors.ts'
import { LIBRARY_NAMES, type OptionNames } from '../option-values.ts'
import { isObject, kindOf, placeOf, printable, readParts, suggestion, unknownKeys } from './option-readers.ts'
import { type CheckedOptions, LIBRARY_OPTIONS } from './option-table.ts'
import { combinationProblems, type ProxyOptions } from './options.ts'

/** A long list may have a mistake in each line. */
const MAX_SHOWN = 50

const KNOWN = Object.keys(LIBRARY_OPTIONS)

/** What people may write for an option, and for one of its parts. */
const MEANT = Object.entries(LIBRARY_OPTIONS).flatMap(([name, { type, parts }]) => {
  return [name, ...(type === 'object' ? Object.keys(parts ?? {}).map(part => `${name}.${part}`) : [])]
})

/** Names that other libraries have for the same, or the command line. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  host: 'rdsEndpoint',
  hostname: 'rdsEndpoint',
  endpoint: 'rdsEndpoint',
  port: 'listen',
  password: 'localUsers',
  localPassword: 'localUsers',
  localPasswordFile: 'localUsers',
  ssl: 'tls',
}

/**
 * A copy of the options, which may be anything that a program gave.
 * @param names how errors call the options
 * @throws ProxyError CONFIG_INVALID, with every mistake, or the first 50
 */
export function checkOptions(given: unknown, names: OptionNames = LIBRARY_NAMES): CheckedOptions {
  const { options, problems } = readOptions(given, names)
  if (problems.length === 0) return options
  const more = problems.splice(MAX_SHOWN).length
  if (more > 0) problems.push(`and ${more} more mistakes`)
  throw new ProxyError('CONFIG_INVALID', problems.join('; '))
}

/** Every mistake in the options, without those of the files that they name. */
export function optionProblems(given: ProxyOptions, names: OptionNames): string[] {
  return readOptions(given, names).problems
}

/** Without a value for `rdsEndpoint`, there are problems. */
const NONE: CheckedOptions = { rdsEndpoint: '' }

function readOptions(given: unknown, names: OptionNames): { options: CheckedOptions; problems: string[] } {
  const problems: string[] = []
  const at = (name: string) => placeOf(name, names, problems)
  try {
    if (!isObject(given)) {
      const problem = `the options: need an object such as { rdsEndpoint: '…' }, not ${kindOf(given)}`
      return { options: NONE, problems: [problem] }
    }
    for (const name of unknownKeys(given, KNOWN)) {
      const other = Object.hasOwn(OTHER_NAMES, name) ? `; did you mean ${OTHER_NAMES[name]}?` : suggestion(name, MEANT)
      at(printable(name)).report(`unknown option${other}`)
    }
  } catch {
    // Of a getter or a Proxy. Its message may hold anything.
    return { options: NONE, problems: ['the options: are unreadable, because the object throws an error'] }
  }
  const { values, invalid } = readParts<CheckedOptions>(given, LIBRARY_OPTIONS, at)
  if (values.rdsEndpoint === undefined && !invalid.has('rdsEndpoint')) at('rdsEndpoint').reportMissing()
  const options = { ...NONE, ...values }
  if (!invalid.has('rolesAnywhere') && !invalid.has('profile')) problems.push(...rolesAnywhereProblems(options, names))
  problems.push(...combinationProblems(options, names, invalid))
  return { options, problems }
}
