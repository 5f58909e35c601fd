/** The texts of --help, made from the tables of commands and options. */
import type { Command } from '../config/option-spec.ts'
import { environmentName, OPTION_GROUPS, type OptionName, optionSpec, optionsOf } from '../config/options.ts'
import { ProxyError } from '../errors.ts'
import { createStyler, didYouMean, wantsColours, wrap } from '../text.ts'
import { commandWords } from './arguments.ts'
import type { CommandTable, Example } from './command.ts'

const PROGRAM = 'mysql-iam-proxy'
const WHAT = 'Log in to Amazon RDS and Aurora with AWS IAM from any MySQL client.'

/** The command of `help NAME`. @throws ProxyError CONFIG_INVALID, with the nearest known name */
export function commandNamed(name: string | undefined, commands: CommandTable): Command {
  if (name === undefined) return 'run'
  if (Object.hasOwn(commands, name)) return name as Command
  throw new ProxyError('CONFIG_INVALID', `there is no command ${name}${didYouMean(name, commandWords)}`)
}

/** The whole help of `command`; of 'run' with the list of all commands. */
export function helpFor(
  command: Command,
  commands: CommandTable,
  width = widthOf(process.stdout),
  style = createStyler(wantsColours(process.stdout.isTTY)),
): string {
  const section = (title: string, lines: readonly string[]) => style('bold', title) + indented(lines)
  const { describe, usage = '', examples, docs } = commands[command]
  const name = command === 'run' ? PROGRAM : `${PROGRAM} ${command}`
  const arguments_ = usage.includes('[options]') ? usage : `[options] ${usage}`.trim()
  const sections = [
    wrap(command === 'run' ? WHAT : `${describe}.`, width).join('\n'),
    section('Usage', [`${name} ${arguments_}`, ...(command === 'run' ? [`${PROGRAM} COMMAND [options]`] : [])]),
    section('Examples', exampleLines(examples)),
    ...(command === 'run' ? [section('Commands', commandLines(commands, width))] : []),
    ...optionSections(command, width).map(([title, lines]) => section(title, lines)),
    section('For each command', [
      ...optionLines('-h, --help', 'Show this help', width),
      ...optionLines('-V, --version', 'Show the version', width),
    ]),
    wrap(
      `Each option is also an environment variable, for example ${environmentName('rds-endpoint')}.${docs ? ` More: ${docs}` : ''}`,
      width,
    ).join('\n'),
  ]
  return sections.join('\n\n')
}

/** For a line without anything: what the program is, three examples, where to read more. */
export function shortHelp(commands: CommandTable): string {
  const style = createStyler(wantsColours(process.stderr.isTTY))
  const section = (title: string, lines: readonly string[]) => style('bold', title) + indented(lines)
  const examples = [commands.add, commands.run, commands.demo].map(({ examples }) => examples[0]!)
  const more: Example[] = [
    [`${PROGRAM} --help`, 'All commands and options'],
    [`${PROGRAM} help COMMAND`, 'One command, with examples'],
  ]
  const sections = [WHAT, section('Examples', exampleLines(examples)), section('More', exampleLines(more))]
  return `${sections.join('\n\n')}\n\nNothing was started, because no database is named.\n`
}

function widthOf({ columns }: { columns?: number }): number {
  return Math.min(100, columns ?? 80)
}

function indented(lines: readonly string[]): string {
  return [':', ...lines.map(line => `  ${line}`)].join('\n')
}

function exampleLines(examples: readonly Example[]): string[] {
  return examples.flatMap(([line, does]) => [`# ${does}`, line])
}

function commandLines(commands: CommandTable, width: number): string[] {
  const column = Math.max(...commandWords.map(name => name.length)) + 2
  return commandWords.flatMap(name => {
    return wrap(commands[name].describe, width - column - 2).map((line, index) => {
      return `${(index === 0 ? name : '').padEnd(column)}${line}`
    })
  })
}

function optionSections(command: Command, width: number): [title: string, lines: string[]][] {
  const taken = new Set(optionsOf(command))
  return OPTION_GROUPS.flatMap(({ title, options }): [string, string[]][] => {
    const lines = options.filter(name => taken.has(name)).flatMap(name => linesOf(name, width))
    return lines.length === 0 ? [] : [[title, lines]]
  })
}

function linesOf(name: OptionName, width: number): string[] {
  const { kind, short, placeholder, choices, default: standard, describe } = optionSpec(name)
  const flag = `${short ? `-${short}, ` : ''}--${name}`
  const values = placeholder ?? choices?.join('|') ?? 'VALUE'
  const text = standard === undefined ? describe : `${describe} (default: ${standard})`
  if (kind === 'boolean') return optionLines(flag, text, width)
  if (flag.length + values.length + 3 <= width) return optionLines(`${flag} ${values}`, text, width)
  return optionLines(`${flag} NAME`, `${values.replaceAll('|', ', ')}: ${text}`, width)
}

const INDENT = '    '

function optionLines(flag: string, describe: string, width: number): string[] {
  return [flag, ...wrap(describe, width - INDENT.length - 2).map(line => INDENT + line)]
}
