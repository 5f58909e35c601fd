/** Flags of switches, also of those whose names begin with no-. */
import { test } from 'tap'
import { readArguments } from '../../src/commands/arguments.ts'
import { COMMANDS } from '../../src/commands/table.ts'
import { COMMAND_NAMES } from '../../src/config/option-spec.ts'
import { optionSpec, optionsOf } from '../../src/config/options.ts'

test('every switch of every command: given, negated, with a value, behind --', async t => {
  for (const command of COMMAND_NAMES) {
    const { choices, usage } = COMMANDS[command]
    const word = choices && !usage?.startsWith('[') ? choices.slice(0, 1) : []
    const start = [...(command === 'run' ? [] : [command]), ...word]
    const read = (...args: string[]) => readArguments([...start, ...args], command, COMMANDS[command]).flags
    for (const name of optionsOf(command).filter(option => optionSpec(option).kind === 'boolean')) {
      t.same(read(`--${name}`), { [name]: true }, `${command} --${name}`)
      t.same(read(`--no-${name}`), { [name]: false }, `${command} --no-${name}`)
      t.same(read(`--${name}=false`), { [name]: false })
      if (command === 'exec') t.same(read('--', `--no-${name}`), {})
    }
  }
})
