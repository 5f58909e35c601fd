/** A walk along the path of a login: one step after the other, each with what it found, up to the first that fails. */

import { ERRORS, type ErrorCode, type ErrorSource, SERVER_ERRORS } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'

/** What to do, in words, with text to copy where there is some: a command, SQL, a policy. */
export interface Advice {
  text: string
  snippet?: string | undefined
}

/** An error or a warning, with all that a person or a script needs to act on it. */
export interface Finding {
  code: ErrorCode
  /** where to look for the cause */
  source: ErrorSource
  /** what a MySQL client shows: the server's own number if the server sent the error */
  errno: number
  sqlState: string
  message: string
  hint: string
  explanation: string
  docs: string
  advice: Advice[]
}

export interface StepResult {
  step: string
  status: 'ok' | 'failed'
  milliseconds: number
  facts: Record<string, string | string[]>
  warnings: Finding[]
  error: Finding | undefined
}

/** How a walk came out. */
export interface StepsResult {
  steps: StepResult[]
  failed: Finding | undefined
  exitCode: number
}

/** What a step is given to say what it finds. */
export interface StepLog {
  /** shown under the step; several lines where `value` is a list */
  fact(name: string, value: string | string[]): void
  /** something to mend that keeps no login from coming through */
  warn(error: ProxyError, advice?: Advice[]): void
}

/** Shows a walk while it goes on. */
export interface Reporter {
  begin(step: string): void
  end(result: StepResult): void
  finish(result: StepsResult): void
}

/** Makes a Finding's words: what is known so far fills hints, and advises. */
export interface Explainer {
  hintValues(): Record<string, string | undefined>
  advise(error: ProxyError): Promise<Advice[]>
}

export interface Steps {
  /** Runs one step. Rejects where the step fails: then the walk is over. */
  step<Value>(name: string, run: (notes: StepLog) => Promise<Value> | Value): Promise<Value>
  result(): StepsResult
}

export function createSteps(reporter: Reporter, explainer: Explainer): Steps {
  const steps: StepResult[] = []

  function toFinding(error: ProxyError, advice: Advice[]): Finding {
    const { source, errno, sqlState, explanation, docs } = ERRORS[error.code]
    const ofServer = error.serverError && SERVER_ERRORS[error.serverError.errno]
    return {
      code: error.code,
      source,
      errno: error.serverError?.errno ?? errno,
      sqlState: error.serverError?.sqlState ?? sqlState,
      message: error.message,
      hint: hintFor(error, explainer.hintValues()),
      explanation: ofServer?.explanation ?? explanation,
      docs: ofServer?.docs ?? docs,
      advice,
    }
  }

  return {
    async step(name, run) {
      reporter.begin(name)
      const started = performance.now()
      const result: StepResult = {
        step: name,
        status: 'ok',
        milliseconds: 0,
        facts: {},
        warnings: [],
        error: undefined,
      }
      const notes: StepLog = {
        fact: (title, value) => {
          result.facts[title] = value
        },
        warn: (error, advice = []) => result.warnings.push(toFinding(error, advice)),
      }
      try {
        return await run(notes)
      } catch (thrown) {
        result.status = 'failed'
        const error = asProxyError(thrown)
        result.error = toFinding(error, await explainer.advise(error))
        throw error
      } finally {
        result.milliseconds = Math.round(performance.now() - started)
        steps.push(result)
        reporter.end(result)
      }
    },
    result() {
      const failed = steps.find(({ error }) => error)?.error
      return { steps, failed, exitCode: failed ? ERRORS[failed.code].exitCode : 0 }
    },
  }
}

/** What may not be seen, or can't be reached, is told and passed over. */
export async function orWarn<Value>(notes: StepLog, look: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await look()
  } catch (thrown) {
    if (!(thrown instanceof ProxyError) || !/^(AWS_|CREDENTIALS_)/.test(thrown.code)) throw thrown
    notes.warn(thrown)
    return undefined
  }
}
