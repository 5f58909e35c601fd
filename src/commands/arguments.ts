/** Reads a command line by the tables of commands and options. */
import yargs from 'yargs'
import { COMMAND_NAMES, type Command } from '../config/option-spec.ts'
import { environmentName, isOption, type OptionName, optionNames, optionSpec, optionsOf } from '../config/options.ts'
import { ProxyError } from '../errors.ts'
import { newOptionName } from '../renames.ts'
import { didYouMean, nearest } from '../text.ts'
import type { CommandRow, Flags } from './command.ts'

/** The commands that have a name on the command line. */
export const commandWords = COMMAND_NAMES.filter(name => name !== 'run')

export interface Arguments {
  flags: Flags
  words: string[]
  rest: string[]
}

/** The command that `args` name with their first word; 'run' if they name none. */
export function commandOf(args: readonly string[]): Command {
  const [first] = parse(args, optionNames, 'run')._
  return commandWords.find(name => name === first) ?? 'run'
}

/** Whether one of `flags` is among the options of `args`, also where a value was expected. */
export function has(args: readonly string[], ...flags: string[]): boolean {
  return beforeEnd(args).some(arg => flags.includes(arg))
}

/** The options and words of `command`. @throws ProxyError CONFIG_INVALID, with the nearest known name */
export function readArguments(args: readonly string[], command: Command, row: CommandRow): Arguments {
  const known = optionsOf(command)
  for (const arg of beforeEnd(args)) checkFlag(arg, command, known)
  const { _: before, '--': after = [], ...values } = parse(args, known, command)
  const flags: Record<string, string | string[] | boolean> = {}
  for (const name of known) {
    const value = values[name]
    if (value === undefined) continue
    const isGiven = Array.isArray(value) ? !value.includes('') : value !== ''
    if (!isGiven && !hasEmptyValue(args, name)) throw invalid(`--${name} needs a value`)
    // The last one of a repeated option counts, unless it may be repeated.
    flags[name] = Array.isArray(value) && !isRepeated(name, command) ? value.at(-1)! : value
  }
  const words = command === 'exec' ? before : [...before, ...after]
  if (command !== 'run') words.shift()
  checkWords(words, command, row)
  if (flags['port'] !== undefined && flags['listen'] !== undefined) throw invalid('use --port or --listen, not both')
  return { flags, words, rest: command === 'exec' ? after : [] }
}

function isRepeated(name: OptionName, command: Command): boolean {
  const { kind, repeatedBy } = optionSpec(name)
  return kind === 'strings' || (repeatedBy ?? []).includes(command)
}

interface Parsed {
  [name: string]: string | string[] | boolean | undefined
  _: string[]
  '--'?: string[]
}

function parse(args: readonly string[], names: readonly OptionName[], command: Command): Parsed {
  const options = names.map(name => {
    const { kind, short } = optionSpec(name)
    const type = kind === 'boolean' ? 'boolean' : isRepeated(name, command) ? 'array' : 'string'
    return [name, { type, ...(type === 'array' ? { string: true } : {}), ...(short ? { alias: short } : {}) }] as const
  })
  return yargs()
    .parserConfiguration({
      'boolean-negation': false, // yargs would read --no-check, a name of the table, as check: false
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'populate--': true,
    })
    .options(Object.fromEntries(options))
    .boolean(['h', 'help', 'V', 'version'])
    .locale('en')
    .help(false)
    .version(false)
    .exitProcess(false)
    .fail((message, error) => {
      throw error ?? invalid(message)
    })
    .parseSync(withoutNegations(args, names)) as Parsed
}

/** `--no-NAME` as `--NAME=false`, unless `no-NAME` is an option itself. */
function withoutNegations(args: readonly string[], names: readonly OptionName[]): string[] {
  const known: readonly string[] = names
  const end = args.indexOf('--')
  return args.map((arg, index) => {
    const [, name = ''] = /^--no-([^=]+)$/.exec(arg) ?? []
    const isNegation = isOption(name) && optionSpec(name).kind === 'boolean' && !known.includes(`no-${name}`)
    return isNegation && (end < 0 || index < end) ? `--${name}=false` : arg
  })
}

/** The arguments that may be options. yargs takes none of them for the value of an option if it starts with a dash. */
function beforeEnd(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--')
  return args.slice(0, end < 0 ? undefined : end)
}

/** @throws ProxyError CONFIG_INVALID if `arg` is an unknown option, or a switch with a value other than true and false */
function checkFlag(arg: string, command: Command, known: readonly OptionName[]): void {
  const [, long, value] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? []
  if (long === undefined) {
    const letter = /^-([^-])/.exec(arg)?.[1]
    if (letter !== undefined && !known.some(name => optionSpec(name).short === letter)) {
      throw invalid(unknownOption(letter, arg, command, known))
    }
    return
  }
  const isSwitch = (name: string) => isOption(name) && known.includes(name) && optionSpec(name).kind === 'boolean'
  if (isSwitch(long.replace(/^no-/, '')) && !isSwitch(long)) return
  if (!(known as readonly string[]).includes(long)) throw invalid(unknownOption(long, arg, command, known))
  if (isSwitch(long) && value !== undefined && value !== 'true' && value !== 'false') {
    throw invalid(`--${long} is a switch: use --${long} or --no-${long}, not "${value}"`)
  }
}

/** Whether an option is given with the value '', and not just without one. */
function hasEmptyValue(args: readonly string[], name: OptionName): boolean {
  return args.some((arg, index) => arg === `--${name}=` || (arg === `--${name}` && args[index + 1] === ''))
}

function unknownOption(name: string, written: string, command: Command, known: readonly OptionName[]): string {
  const renamed = newOptionName(name)
  if (renamed) return `--${name} is now --${renamed}`
  // The flags of some other programs have one dash.
  const long = written.replace(/^--?/, '').replace(/=.*$/, '')
  if (isOption(name) && !optionSpec(name).environmentOnly) {
    const commands = COMMAND_NAMES.filter(other => optionsOf(other).includes(name)).map(other => {
      return other === 'run' ? 'the proxy' : other
    })
    return `--${name} is an option of ${commands.join(', ')}${command === 'run' ? '' : `, not of ${command}`}`
  }
  const shown = written.startsWith('--') ? `--${name}` : written.replace(/=.*$/, '')
  if (isOption(name)) return `--${name}: other users can see a command line; set ${environmentName(name)} instead`
  const meant = nearest(long, known)
  return `unknown option ${shown}${meant && long.length > 1 ? `; did you mean --${meant}?` : ''}`
}

/** @throws ProxyError CONFIG_INVALID */
function checkWords(words: readonly string[], command: Command, { maxWords = 0, choices, usage }: CommandRow): void {
  const [first] = words
  const extra = words[maxWords]
  if (extra !== undefined) throw invalid(`${command}: unexpected argument "${extra}"`)
  if (!choices || (first === undefined && usage?.startsWith('['))) return
  if (first === undefined) throw invalid(`${command} needs one of ${choices.join(', ')}`)
  if (!choices.includes(first)) {
    throw invalid(`${command}: "${first}" is not one of ${choices.join(', ')}${didYouMean(first, choices)}`)
  }
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
