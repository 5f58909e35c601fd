/** The options' values. The first source that gives an option wins: flag, environment, configuration file, default. */
import { formatDuration, parseDuration } from '../duration.ts'
import { ProxyError } from '../errors.ts'
import type { OptionNames } from '../option-values.ts'
import { newOptionName, renamedOptions } from '../renames.ts'
import { didYouMean } from '../text.ts'
import { portProblem } from '../value-checks.ts'
import {
  ENVIRONMENT_PREFIX,
  environmentName,
  type OPTIONS,
  type OptionName,
  type OptionSpec,
  optionNames,
  optionSpec,
} from './options.ts'

type ValueOf<Spec> = Spec extends { kind: 'boolean' }
  ? boolean
  : Spec extends { kind: 'duration' | 'integer' }
    ? number
    : Spec extends { kind: 'strings' }
      ? string[]
      : Spec extends { choices: readonly (infer Choice)[] }
        ? Choice | (Spec extends { default: string } ? never : undefined)
        : Spec extends { default: string }
          ? string
          : string | undefined

/** The options' values: durations in milliseconds. */
export type Settings = { [Name in OptionName]: ValueOf<(typeof OPTIONS)[Name]> }

/** Kubernetes sets such variables in every pod beside a Service named mysql-iam-proxy. */
const KUBERNETES_SERVICE = /_SERVICE_(HOST|PORT)|_PORT(_|$)/

/** The value of an option before it is checked. */
export type RawValue = string | string[] | boolean | undefined

/** One place that gives options: the flags, the environment, a mapping of the configuration file. */
export interface Source {
  /** undefined where the source does not give the option */
  value(option: OptionName): RawValue
  /** How this source spells the option: '--connect', 'MYSQL_IAM_PROXY_CONNECT', 'connect' */
  name(option: string): string
  /**
   * The start of a message about the option: its name, after its place where there is one.
   * @param index of one of several values
   */
  place(option: OptionName, index?: number): string
}

/** Of the flags, with those that stand for others: --port for --listen, --quiet for --log-level. */
export function flagSource(flags: Readonly<Record<string, unknown>>): Source {
  const port = last(flags['port'] as RawValue)
  const stands: Partial<Record<OptionName, { value: string; name: OptionName }>> = {
    ...(port === undefined || portProblem(port) ? {} : { listen: { value: `127.0.0.1:${port}`, name: 'port' } }),
    ...(flags['quiet'] === true ? { 'log-level': { value: 'warn', name: 'quiet' } } : {}),
  }
  const standIn = (option: string) => (flags[option] === undefined ? stands[option as OptionName] : undefined)
  const name = (option: string) => `--${standIn(option)?.name ?? option}`
  // yargs gives an empty array for a flag without a value.
  const given = (option: string) => (Array.isArray(flags[option]) && flags[option].length === 0 ? '' : flags[option])
  return { value: option => (given(option) as RawValue) ?? standIn(option)?.value, name, place: name }
}

export function environmentSource(environment: NodeJS.ProcessEnv): Source {
  return {
    value(option) {
      const { flagOnly, restricts } = optionSpec(option)
      const value = flagOnly ? undefined : environment[environmentName(option)]
      return value === '' && !restricts ? undefined : value
    },
    name: environmentName,
    place: environmentName,
  }
}

/** The first source that gives the option. */
export function sourceOfOption(sources: readonly Source[], option: OptionName): Source | undefined {
  return sources.find(({ value }) => value(option) !== undefined)
}

/** Options of the library whose names here are not simply in kebab case. */
const OTHER_NAMES: Readonly<Record<string, OptionName>> = {
  tls: 'tls-cert',
  localUsers: 'local-user',
  keepTargets: 'keep-target',
  'rolesAnywhere.certificateFile': 'roles-anywhere-certificate',
  'rolesAnywhere.keyFile': 'roles-anywhere-key',
  'rolesAnywhere.keyPassphraseFile': 'roles-anywhere-key-passphrase-file',
  'rolesAnywhere.intermediatesFile': 'roles-anywhere-intermediates',
  'rolesAnywhere.trustAnchorArn': 'roles-anywhere-trust-anchor',
  'rolesAnywhere.profileArn': 'roles-anywhere-profile',
  'rolesAnywhere.roleArn': 'roles-anywhere-role',
  'rolesAnywhere.duration': 'roles-anywhere-duration',
  'rolesAnywhere.sessionName': 'roles-anywhere-session-name',
  'rolesAnywhere.endpoint': 'roles-anywhere-endpoint',
  resolvers: 'resolver',
}

/** How options were written in the first of `sources` that gives each; options of none are called as in `otherwise`. */
export function namesIn(sources: readonly Source[], otherwise: Source): OptionNames {
  const kebab = (option: string) => {
    return (OTHER_NAMES[option] ?? option.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)) as OptionName
  }
  /** of `localUsers[0].name`, the option and the rest */
  const split = (option: string): [OptionName, string] => {
    const end = option in OTHER_NAMES ? option.length : option.search(/[.[]|$/)
    return [kebab(option.slice(0, end)), option.slice(end)]
  }
  const source = (option: OptionName) => sourceOfOption(sources, option) ?? otherwise
  return {
    name: option => source(kebab(option)).name(kebab(option)),
    place(path, index) {
      const [option, rest] = split(path)
      return source(option).place(option, index) + rest
    },
  }
}

/** How the options of `resolveSettings` were written. */
export function namesOfSettings(flags: Readonly<Record<string, unknown>>, environment: NodeJS.ProcessEnv): OptionNames {
  return namesIn([flagSource(flags), environmentSource(environment)], flagSource(flags))
}

/**
 * The settings from `sources`, the first of them first, or else the defaults. Adds mistakes to `problems`; an invalid
 * option has no value then.
 */
export function resolve(sources: readonly Source[], problems: string[]): Settings {
  const settings: Record<string, unknown> = {}
  for (const name of optionNames) {
    const spec = optionSpec(name)
    const source = sourceOfOption(sources, name)
    const problem = (message: string, index?: number) => {
      const text = `${source?.place(name, index) ?? `--${name}`}: ${message}`
      if (!problems.includes(text)) problems.push(text)
    }
    settings[name] = parseValue(spec, source ? source.value(name) : spec.default, problem)
  }
  return settings as Settings
}

/** The variables that start like ours but are not ours. */
export function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = optionNames.filter(name => !optionSpec(name).flagOnly).map(environmentName)
  const port = environment[environmentName('port')]
  // Kubernetes sets it too, to a URL.
  const isOurs = port !== undefined && portProblem(port) === undefined
  const instead = `${environmentName('listen')}=127.0.0.1:${port}`
  const problems = isOurs ? [`${environmentName('port')}: there is no such option; set ${instead}`] : []
  const unknown = Object.keys(environment)
    .filter(name => name.startsWith(ENVIRONMENT_PREFIX) && !known.includes(name) && !KUBERNETES_SERVICE.test(name))
    .map(name => {
      const renamed = renamedOptions.find(option => environmentName(option) === name)
      if (renamed) return `${name} is now ${environmentName(newOptionName(renamed)!)}`
      return `${name}: unknown option${didYouMean(name, known)}`
    })
  return [...problems, ...unknown]
}

/**
 * The settings from the flags and the environment.
 * @throws ProxyError CONFIG_INVALID, with every mistake
 */
export function resolveSettings(flags: Readonly<Record<string, unknown>>, environment: NodeJS.ProcessEnv): Settings {
  const problems: string[] = []
  const settings = resolve([flagSource(flags), environmentSource(environment)], problems)
  problems.push(...unknownVariables(environment))
  if (problems.length > 0) throw new ProxyError('CONFIG_INVALID', problems.join('; '))
  return settings
}

/** Reports a mistake; `index` is that of one of several values. */
type Report = (message: string, index?: number) => void

/** undefined for an invalid value, which is reported. */
function parseValue(spec: OptionSpec, given: RawValue, report: Report): unknown {
  switch (spec.kind) {
    case 'boolean':
      return parseBoolean(given, report)
    case 'strings':
      return parseStrings(spec, given, report)
    case 'duration':
      return parseMilliseconds(spec, last(given) ?? '', report)
    case 'integer':
      return parseInteger(spec, last(given) ?? '', report)
    case 'string':
      return parseString(spec, last(given), report)
  }
}

/** If a flag was given several times, the last one counts. */
function last(given: RawValue): string | undefined {
  const value = Array.isArray(given) ? given.at(-1) : given
  return value === undefined ? undefined : String(value)
}

function parseString({ choices, check }: OptionSpec, value: string | undefined, report: Report): string | undefined {
  if (value === undefined) return undefined
  const problem = value === '' ? 'needs a value' : check?.(value)
  if (problem) report(problem)
  else if (choices && !choices.includes(value)) report(`"${value}" is not one of ${choices.join(', ')}`)
  else return value
  return undefined
}

function parseStrings({ separator, check }: OptionSpec, given: RawValue, report: Report): string[] {
  const isList = Array.isArray(given)
  const values = isList ? given : given === undefined ? [] : valuesIn(String(given), separator)
  if (values.length === 0 && given !== undefined && !isList) report('needs a value')
  return values.filter((value, index) => {
    const problem = value === '' ? 'needs a value' : check?.(value)
    if (problem) report(problem, isList ? index : undefined)
    return !problem
  })
}

/** The values in an environment variable. On Windows, a path may contain a colon, and ; separates paths, as in PATH. */
export function valuesIn(
  text: string,
  separator: string | undefined,
  platform: NodeJS.Platform = process.platform,
): string[] {
  return text.split(separator ?? (platform === 'win32' ? ';' : ':')).filter(Boolean)
}

function parseBoolean(given: RawValue, report: Report): boolean {
  if (given === undefined || typeof given === 'boolean') return given ?? false
  const value = last(given)
  if (value === '') report('needs a value, true or false')
  else if (value !== 'true' && value !== '1' && value !== 'false' && value !== '0') {
    report(`"${value}" is not true or false`)
  }
  return value === 'true' || value === '1'
}

function parseInteger({ min = 0, max = Number.MAX_SAFE_INTEGER }: OptionSpec, text: string, report: Report) {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : undefined
  if (value === undefined) report(`"${text}" is not a number such as 100`)
  else if (value < min) report(`"${text}" must be at least ${min}`)
  else if (value > max) report(`"${text}" must be at most ${max}`)
  else return value
  return undefined
}

function parseMilliseconds({ min = 0, max = Number.MAX_SAFE_INTEGER }: OptionSpec, text: string, report: Report) {
  const value = parseDuration(text)
  if (value === undefined) report(`"${text}" is not a duration such as 500ms, 5s or 2m`)
  else if (value < min) report(`"${text}" must be at least ${formatDuration(min)}`)
  else if (value > max) report(`"${text}" must be at most ${formatDuration(max)}`)
  else return value
  return undefined
}
