/** Reads a command line by the tables of commands and options. */
import { parseArgs } from 'node:util'
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
  const [first] = tokensOf(args, optionNames).flatMap(token => (token.kind === 'positional' ? [token] : []))
  const isBeforeEnd = first !== undefined && !args.slice(0, first.index).includes('--')
  return commandWords.find(name => isBeforeEnd && name === first.value) ?? 'run'
}

/** Whether one of `flags` is among the options of `args`, also where a value was expected. */
export function has(args: readonly string[], ...flags: string[]): boolean {
  const end = args.indexOf('--')
  return args.slice(0, end < 0 ? undefined : end).some(arg => flags.includes(arg))
}

/** The options and words of `command`. @throws ProxyError CONFIG_INVALID, with the nearest known name */
export function readArguments(args: readonly string[], command: Command, row: CommandRow): Arguments {
  const known = optionsOf(command)
  const flags: Record<string, string | string[] | boolean> = {}
  const words: string[] = []
  const rest: string[] = []
  let isAfterEnd = false
  for (const token of tokensOf(args, known)) {
    if (token.kind === 'option-terminator') isAfterEnd = true
    else if (token.kind === 'positional') (isAfterEnd && command === 'exec' ? rest : words).push(token.value)
    else {
      const [name, value] = flagOf(token, args[token.index]!, command, known)
      flags[name] = isRepeated(name, command) ? [...((flags[name] ?? []) as string[]), String(value)] : value
    }
  }
  if (command !== 'run') words.shift()
  checkWords(words, command, row)
  if (flags['port'] !== undefined && flags['listen'] !== undefined) throw invalid('use --port or --listen, not both')
  return { flags, words, rest }
}

function isRepeated(name: OptionName, command: Command): boolean {
  const { kind, repeatedBy } = optionSpec(name)
  return kind === 'strings' || (repeatedBy ?? []).includes(command)
}

type Token = ReturnType<typeof tokensOf>[number]
type OptionToken = Extract<Token, { kind: 'option' }>

function tokensOf(args: readonly string[], names: readonly OptionName[]) {
  const options = names.map(name => {
    const { kind, short } = optionSpec(name)
    return [name, { type: kind === 'boolean' ? 'boolean' : 'string', ...(short ? { short } : {}) }] as const
  })
  return parseArgs({
    args: [...args],
    options: Object.fromEntries(options),
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens
}

/** The option and its value. @throws ProxyError CONFIG_INVALID */
function flagOf(
  { name, value, inlineValue }: OptionToken,
  written: string,
  command: Command,
  known: readonly OptionName[],
): [OptionName, string | boolean] {
  const isKnown = (name: string): name is OptionName => (known as readonly string[]).includes(name)
  if (!isKnown(name)) {
    const negated = name.slice('no-'.length)
    if (name.startsWith('no-') && isKnown(negated) && optionSpec(negated).kind === 'boolean') return [negated, false]
    throw invalid(unknownOption(name, written, command, known))
  }
  if (optionSpec(name).kind === 'boolean') return [name, value ?? true]
  const isFlag = value?.startsWith('-') && !inlineValue
  if (value === undefined || isFlag) throw invalid(`--${name} needs a value`)
  return [name, value]
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
