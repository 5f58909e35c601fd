/** Shows the steps: to people while they run, to scripts as one JSON document at the end. */
import { createStyler, wrap as wrapWords } from '../text.ts'
import type { Advice, Finding, Reporter, StepResult, StepsResult } from './steps.ts'

const INDENT = '  '

export interface Terminal {
  write(text: string): void
  /** in characters */
  width: number
  /** whether lines can be overwritten */
  isLive: boolean
  colours: boolean
  /** only the steps with problems */
  quiet?: boolean
}

/** For people: a mark and a duration for each step, its findings below, and what to do at the end. Lines are as wide as the terminal at most, but longer words stay whole, so that they can be copied. */
export function terminalReporter({ write, width, isLive, colours, quiet = false }: Terminal): Reporter {
  const style = createStyler(colours)
  const print = (line: string) => write(`${line}\n`)
  // Texts of servers and helpers may contain anything, even control sequences of a terminal.
  const wrap = (text: string, width: number) => wrapWords(text.replace(/\p{Cc}+/gu, ' '), width)
  const say = (text: string, indent = INDENT) => {
    for (const line of wrap(text, width - indent.length)) print(indent + line)
  }

  function facts({ facts }: StepResult): void {
    const names = Object.keys(facts)
    // Host names are too long for a column.
    const column = Math.max(0, ...names.map(name => name.length).filter(length => length <= 24)) + 2
    for (const name of names) {
      const value = facts[name]!
      const lines = (Array.isArray(value) ? value : [value]).flatMap(text => wrap(text, width - 2 - column))
      const isNarrow = name.length <= 24 && lines.every(line => line.length <= width - 2 - column)
      if (isNarrow) {
        for (const [index, line] of lines.entries()) print(INDENT + (index === 0 ? name : '').padEnd(column) + line)
      } else {
        print(INDENT + name)
        for (const text of Array.isArray(value) ? value : [value]) say(text, INDENT.repeat(2))
      }
    }
  }

  function advice(all: Advice[]): void {
    for (const { text, snippet } of all) {
      print('')
      say(text)
      if (snippet === undefined) continue
      print('')
      // An ARN alone on its line may be longer than the terminal is wide. It must not be broken.
      for (const line of snippet.split('\n'))
        print(line.trim().includes(' ') || line.length + 4 <= width ? `    ${line}` : line)
    }
  }

  function warning(finding: Finding): void {
    const [first, ...rest] = wrap(`! ${finding.message} (${finding.code}). ${finding.hint}`, width - 4)
    print(INDENT + style('yellow', first!))
    for (const line of rest) print(`${INDENT}  ${line}`)
    advice(finding.advice)
  }

  return {
    begin(step) {
      if (isLive) write(`… ${step}`)
    },
    progress(step, text) {
      if (isLive) write('\r\x1b[K')
      if (quiet) return
      for (const line of wrap(`… ${step}: ${text}`, width)) print(line)
    },
    end(result) {
      if (isLive) write('\r\x1b[K')
      if (quiet && !result.error && result.warnings.length === 0) return
      const mark = result.error
        ? style('red', '✗')
        : result.warnings.length > 0
          ? style('yellow', '!')
          : style('green', '✓')
      const duration = `${result.milliseconds} ms`
      print(`${mark} ${style('bold', result.step.padEnd(width - 2 - duration.length))}${duration}`)
      facts(result)
      for (const finding of result.warnings) warning(finding)
    },
    finish({ failed, exitCode, steps }) {
      if (quiet && !failed) return
      print('')
      if (!failed) {
        const warnings = steps.flatMap(step => step.warnings).length
        const more = warnings === 0 ? '' : warnings === 1 ? ', with one warning' : `, with ${warnings} warnings`
        print(`${style('green', '✓')} A login through the whole path and a query succeeded${more}.`)
        return
      }
      // Each mistake of a configuration file has its line, and a mark below it. A server's text keeps to its paragraph.
      const [message = '', ...placed] = failed.code === 'CONFIG_INVALID' ? failed.message.split('\n') : [failed.message]
      const [first, ...rest] = wrap(message, width - 2)
      print(`${style('red', '✗')} ${style('bold', first!)}`)
      for (const line of rest) print(INDENT + style('bold', line))
      for (const line of placed) print(line.replace(/\p{Cc}+/gu, ' '))
      print('')
      const explanation = failed.explanation
      say(explanation)
      if (failed.hint) {
        print('')
        say(`What to do: ${failed.hint}`)
      }
      advice(failed.advice)
      print('')
      say(`${failed.code}, ERROR ${failed.errno}, exit code ${exitCode}. More:`)
      say(failed.docs)
    },
  }
}

/** For scripts: one document at the end. `code` is OK or the code of the error; codes do not change from release to release. */
export function jsonReporter(write: (text: string) => void): Reporter {
  return {
    begin() {},
    progress() {},
    end() {},
    finish(result) {
      write(`${JSON.stringify(toJson(result), null, 2)}\n`)
    },
  }
}

function toJson({ steps, failed, exitCode }: StepsResult): object {
  return {
    ok: !failed,
    code: failed?.code ?? 'OK',
    exitCode,
    ...(failed ? { error: failed } : {}),
    steps: steps.map(({ error, ...step }) => ({ ...step, code: error?.code ?? 'OK' })),
  }
}
