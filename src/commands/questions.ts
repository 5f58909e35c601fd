/** Questions on a terminal, by @clack/prompts. The library is loaded with the first question. */
import type { Settings } from '../config/settings.ts'

export interface Choice<Value> {
  value: Value
  label: string
  hint?: string
}

/** Asks on a terminal. Every method rejects with Cancelled at Ctrl-C, at Escape and if the process must end. */
export interface Questions {
  text(message: string, options: TextOptions): Promise<string>
  chooseOne<Value>(message: string, choices: readonly Choice<Value>[]): Promise<Value>
  /** @param chosen at the beginning */
  chooseSome<Value>(message: string, choices: readonly Choice<Value>[], chosen?: readonly Value[]): Promise<Value[]>
}

export interface TextOptions {
  /** Enter takes it */
  initial?: string | undefined
  /** What is wrong with the answer, trimmed; undefined if nothing is */
  problem(answer: string): string | undefined | Promise<string | undefined>
}

/** The person at the terminal does not want to go on. */
export class Cancelled extends Error {
  override name = 'Cancelled'
}

/** undefined where nobody would answer: without a terminal, in CI, or with --no-input. */
export function questionsOn(
  settings: Pick<Settings, 'no-input'>,
  environment: NodeJS.ProcessEnv,
  stop: AbortSignal,
  { stdin, stdout }: Pick<NodeJS.Process, 'stdin' | 'stdout'> = process,
): Questions | undefined {
  const { CI, TERM } = environment
  const isCi = CI !== undefined && CI !== '' && CI !== 'false' && CI !== '0'
  if (!stdin.isTTY || !stdout.isTTY || isCi || TERM === 'dumb' || settings['no-input']) return undefined
  return createQuestions(stop)
}

function createQuestions(signal: AbortSignal): Questions {
  const load = () => import('@clack/prompts')
  const answered = <Answer>(answer: Answer): Exclude<Answer, symbol> => {
    if (typeof answer === 'symbol') throw new Cancelled('cancelled')
    return answer as Exclude<Answer, symbol>
  }
  return {
    async text(message, { initial, problem }) {
      const { text } = await load()
      const validate = (answer: string | undefined) => problem((answer ?? '').trim())
      const given = await text({
        message,
        signal,
        validate,
        ...(initial === undefined ? {} : { initialValue: initial }),
      })
      return answered(given).trim()
    },
    async chooseOne(message, choices) {
      const { select } = await load()
      return choices[answered(await select({ message, signal, options: indexed(choices) }))]!.value
    },
    async chooseSome(message, choices, chosen = []) {
      const { multiselect } = await load()
      const options = indexed(choices)
      const initialValues = options.map(({ value }) => value).filter(index => chosen.includes(choices[index]!.value))
      const given = answered(await multiselect({ message, signal, options, required: true, initialValues }))
      return given.map(index => choices[index]!.value)
    },
  }
}

function indexed<Value>(choices: readonly Choice<Value>[]): { value: number; label: string; hint?: string }[] {
  return choices.map(({ label, hint }, value) => ({ value, label, ...(hint === undefined ? {} : { hint }) }))
}
