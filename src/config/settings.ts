/** The options' values, of the first place that gives each: flag, environment, configuration file, default. */
import { ProxyError } from '../errors.ts'
import {
  ENVIRONMENT_PREFIX,
  environmentName,
  type OPTIONS,
  type OptionName,
  type OptionSpec,
  optionNames,
  optionSpec,
} from './options.ts'

type ValueOf<Spec> = Spec extends { kind: 'switch' }
  ? boolean
  : Spec extends { kind: 'duration' | 'count' }
    ? number
    : Spec extends { kind: 'texts' }
      ? string[]
      : Spec extends { choices: readonly (infer Choice)[] }
        ? Choice
        : Spec extends { default: string }
          ? string
          : string | undefined

/** The options' values: durations in milliseconds. */
export type Settings = { [Name in OptionName]: ValueOf<(typeof OPTIONS)[Name]> }

/** Kubernetes sets such in every pod beside a Service that is named mysql-iam-proxy. */
const OF_A_KUBERNETES_SERVICE = /_SERVICE_(HOST|PORT)|_PORT(_|$)/

/** What was given for an option, before it is checked. */
export type RawValue = string | string[] | boolean | undefined

/** One place that options are given in: the flags, the environment, a mapping of the configuration file. */
export interface Source {
  /** undefined where the place does not name the option */
  value(option: OptionName): RawValue
  /** what a mistake in it is called by */
  label(option: OptionName): string
}

export function flagSource(flags: Readonly<Record<string, unknown>>): Source {
  return { value: option => flags[option] as RawValue, label: option => `--${option}` }
}

export function environmentSource(environment: NodeJS.ProcessEnv): Source {
  return { value: option => environment[environmentName(option)] || undefined, label: environmentName }
}

/** The settings of the first source, in this order, that gives each; or else the defaults. Adds what is wrong to `mistakes`. */
export function resolve(sources: readonly Source[], mistakes: string[]): Settings {
  const settings: Record<string, unknown> = {}
  for (const name of optionNames) {
    const spec = optionSpec(name)
    const source = sources.find(({ value }) => value(name) !== undefined)
    try {
      settings[name] = parseValue(spec, source ? source.value(name) : spec.default)
    } catch (error) {
      const mistake = `${source?.label(name) ?? `--${name}`}: ${(error as Error).message}`
      if (!mistakes.includes(mistake)) mistakes.push(mistake)
    }
  }
  return settings as Settings
}

/** The variables that are named like ours and are none. */
export function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = new Set(optionNames.map(environmentName))
  return Object.keys(environment)
    .filter(name => name.startsWith(ENVIRONMENT_PREFIX) && !known.has(name) && !OF_A_KUBERNETES_SERVICE.test(name))
    .map(name => `${name}: no such option`)
}

/**
 * The settings from the flags that were given and the environment.
 * @throws ProxyError CONFIG_INVALID, naming each option that is wrong
 */
export function resolveSettings(flags: Readonly<Record<string, unknown>>, environment: NodeJS.ProcessEnv): Settings {
  const mistakes: string[] = []
  const settings = resolve([flagSource(flags), environmentSource(environment)], mistakes)
  mistakes.push(...unknownVariables(environment))
  if (mistakes.length > 0) throw new ProxyError('CONFIG_INVALID', mistakes.join('; '))
  return settings
}

function parseValue(spec: OptionSpec, given: RawValue): unknown {
  switch (spec.kind) {
    case 'switch':
      return parseSwitch(given)
    case 'texts':
      return parseTexts(given, spec.separator ?? ':')
    case 'duration':
      return parseDuration(last(given) ?? '', spec.zero ? 0 : 1)
    case 'count':
      return parseCount(last(given) ?? '')
    case 'text':
      return parseText(spec, last(given))
  }
}

/** Of a flag that was given more than once, the last counts. */
function last(given: RawValue): string | undefined {
  const value = Array.isArray(given) ? given.at(-1) : given
  return value === undefined ? undefined : String(value)
}

function parseText({ choices }: OptionSpec, value: string | undefined): string | undefined {
  if (value === '') throw new Error('needs a value')
  if (value !== undefined && choices && !choices.includes(value)) {
    throw new Error(`"${value}" is not one of ${choices.join(', ')}`)
  }
  return value
}

function parseTexts(given: RawValue, separator: string): string[] {
  if (Array.isArray(given)) {
    if (given.includes('')) throw new Error('needs a value')
    return given
  }
  return typeof given === 'string' ? given.split(separator).filter(Boolean) : []
}

function parseSwitch(given: RawValue): boolean {
  if (given === undefined || typeof given === 'boolean') return given ?? false
  const value = last(given)
  if (value === 'true' || value === '1') return true
  if (value === 'false' || value === '0') return false
  throw new Error(`"${value}" is not true or false`)
}

function parseCount(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new Error(`"${text}" is not a number such as 100`)
  return Number(text)
}

const UNITS = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

/** '100us', '500ms', '5s', '2m', '1h' in milliseconds. */
function parseDuration(text: string, least: number): number {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s|m|h)$/.exec(text)
  const value = match ? Number(match[1]) * UNITS[match[2] as keyof typeof UNITS] : -1
  if (value < least || value > 24 * UNITS.h) throw new Error(`"${text}" is not a duration such as 500ms, 5s or 2m`)
  return value
}
