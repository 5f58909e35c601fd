import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { test } from 'tap'
import { readArguments } from '../../src/commands/arguments.ts'
import { commandNamed, helpFor, shortHelp } from '../../src/commands/help.ts'
import { COMMANDS } from '../../src/commands/table.ts'
import { COMMAND_NAMES, type Command } from '../../src/config/option-spec.ts'
import { OPTION_GROUPS, optionNames, optionSpec, optionsOf } from '../../src/config/options.ts'
import { createStyler } from '../../src/text.ts'
import { ensureProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'

const plain = createStyler(false)
const help = (command: Command) => helpFor(command, COMMANDS, 80, plain)

test('each option is in one group', async t => {
  const grouped = OPTION_GROUPS.flatMap(({ options }) => options)
  t.same([...grouped].sort(), [...optionNames].sort())
  t.equal(OPTION_GROUPS[0]?.title, 'Common options')
  const shorts = optionNames.flatMap(name => optionSpec(name).short ?? [])
  t.equal(new Set([...shorts, 'h', 'V']).size, shorts.length + 2, 'each letter stands for one flag')
})

test('every command has help with its options and an example, in 80 columns', async t => {
  for (const command of COMMAND_NAMES) {
    const text = help(command)
    const { examples } = COMMANDS[command]
    t.ok(examples.length > 0, `${command}: an example`)
    for (const [line, does] of examples) t.ok(text.includes(`  # ${does}\n  ${line}\n`), `${command}: ${line}`)
    for (const name of optionsOf(command))
      t.match(text, new RegExp(`^  (-\\w, )?--${name}( |$)`, 'm'), `${command}: ${name}`)
    const titles = [...text.matchAll(/^(\S.*):$/gm)].map(([, title]) => title)
    t.same(titles.slice(0, 2), ['Usage', 'Examples'], command)
    t.equal(titles.at(-1), 'For each command')
    for (const line of text.split('\n')) {
      // A line to copy is not broken.
      if (line.length > 80 && !examples.some(([example]) => line.includes(example))) t.fail(`${command}: ${line}`)
    }
    t.notMatch(text, '\x1b')
  }
})

test('the options in the examples exist, and belong to the command', async t => {
  let examples = 0
  for (const command of COMMAND_NAMES) {
    for (const [line] of COMMANDS[command].examples) {
      const [, rest] = /mysql-iam-proxy((?: (?!>|<|\|)[^\s)]+)*)/.exec(line)!
      const args = rest!
        .trim()
        .split(' ')
        .filter(Boolean)
        .map(word => word.replaceAll("'", ''))
      if (args.includes('-h') || args.includes('--help')) continue
      t.doesNotThrow(() => readArguments(args, command, COMMANDS[command]), line)
      examples++
    }
  }
  t.ok(examples > 20, `${examples} examples`)
})

test('the help of the program lists the commands', async t => {
  for (const command of COMMAND_NAMES) {
    if (command !== 'run') t.match(help('run'), new RegExp(`^  ${command} +\\S`, 'm'))
    t.equal(commandNamed(command, COMMANDS), command)
  }
  t.equal(commandNamed(undefined, COMMANDS), 'run')
  t.throws(() => commandNamed('chek', COMMANDS), /there is no command chek; did you mean check\?/)
  t.match(shortHelp(COMMANDS), 'mysql-iam-proxy demo')
})

/** What `args` print, with nothing of this machine's own settings. */
async function printed(args: string[], environment: NodeJS.ProcessEnv): Promise<string> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(AWS_|MYSQL_IAM_|TAP|FORCE_COLOR|NO_COLOR)/.test(name),
  )
  const [command, ...first] = PROGRAM
  const env = { ...Object.fromEntries(inherited), ...environment }
  return (await promisify(execFile)(command, [...first, ...args], { env })).stdout
}

test('colours of the help: on a terminal only, unless the environment says so', async t => {
  t.notMatch(await printed(['--help'], {}), '\x1b', 'a pipe')
  t.match(await printed(['--help'], { FORCE_COLOR: '1' }), '\x1b[1mUsage')
  t.notMatch(await printed(['--help'], { FORCE_COLOR: '0' }), '\x1b')
  const onTerminal = (environment: NodeJS.ProcessEnv) => inTerminal(['check', '--help'], environment)
  t.match(await onTerminal({ TERM: 'xterm' }), '\x1b[1mUsage')
  t.notMatch(await onTerminal({ TERM: 'dumb' }), '\x1b')
  t.notMatch(await onTerminal({ TERM: 'xterm', NO_COLOR: '1' }), '\x1b')
})

/** What `args` print on a pseudoterminal. */
async function inTerminal(args: string[], environment: NodeJS.ProcessEnv): Promise<string> {
  const script = await ensureProgram('script', 'bsdutils')
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(AWS_|MYSQL_IAM_|TAP|FORCE_COLOR|NO_COLOR)/.test(name),
  )
  const words = [...PROGRAM, ...args].join(' ')
  const env = { ...Object.fromEntries(inherited), SHELL: '/bin/sh', ...environment }
  const options = ['--quiet', '--flush', '--return', '--command', words, '/dev/null']
  return (await promisify(execFile)(script, options, { env })).stdout
}
