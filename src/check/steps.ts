/** Runs the steps of check in sequence, up to the first that fails, and collects what they find. */

import { ERRORS, type ErrorCode, type ErrorSource, SERVER_ERRORS } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'

/** What to do, in words, with an optional text to copy: a command, SQL, a policy. */
export interface Advice {
  text: string
  snippet?: string | undefined
}

/** What --connect leads to if it is a local port, in the words of docs/laptop.md. */
export const FORWARD = 'a tunnel or port forward on this machine'

/** What check calls 127.0.0.1 if the proxy makes a tunnel. */
export const FAR_END = 'an address of the machine at the far end of the tunnel'

/** An error or a warning, with everything that a person or a script needs to act on it. */
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

/** The result of all steps. */
export interface StepsResult {
  steps: StepResult[]
  failed: Finding | undefined
  exitCode: number
}

/** Takes what a step finds. */
export interface StepLog {
  /** shown below the step; one line for each value of a list */
  fact(name: string, value: string | string[]): void
  /** a problem that does not prevent logins */
  warn(error: ProxyError, advice?: Advice[]): void
  /** what a step waits for, if it takes long */
  progress(text: string): void
}

/** Shows the steps while they run. */
export interface Reporter {
  begin(step: string): void
  /** Says what the step waits for. */
  progress(step: string, text: string): void
  end(result: StepResult): void
  finish(result: StepsResult): void
}

/** Fills in hints and gives advice, with what is known so far. */
export interface Explainer {
  hintValues(): Record<string, string | undefined>
  advise(error: ProxyError): Promise<Advice[]>
}

export interface Steps {
  /** Runs one step. Rejects if the step fails, which ends the check. */
  step<Value>(name: string, run: (log: StepLog) => Promise<Value> | Value): Promise<Value>
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
      const log: StepLog = {
        fact: (title, value) => {
          result.facts[title] = value
        },
        progress: text => reporter.progress(name, text),
        warn: (error, advice = []) => result.warnings.push(toFinding(error, advice)),
      }
      try {
        return await run(log)
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

/** Turns errors of AWS into warnings, because logins do not need its APIs. */
export async function orWarn<Value>(log: StepLog, look: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await look()
  } catch (thrown) {
    if (!(thrown instanceof ProxyError) || !/^(AWS_|CREDENTIALS_|FORWARD_PROXY_)/.test(thrown.code)) throw thrown
    log.warn(thrown)
    return undefined
  }
}
