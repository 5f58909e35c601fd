/** The question for the code of an MFA device, on a terminal. */
import { createInterface } from 'node:readline'

export interface Terminal {
  input: NodeJS.ReadableStream
  output: NodeJS.WritableStream
}

/** How often a person may type something that is no code. */
const MAX_ATTEMPTS = 3

/** https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html: TokenCode has six digits. */
const CODE = /^\d{6}$/

/**
 * Asks for a code of six digits. It is shown as it is typed: it works once, and for half a minute.
 * @returns undefined after an empty line, the end of the input, three lines that are no code, or when `signal` aborts
 */
export async function askForCode(
  { input, output }: Terminal,
  serial: string,
  profile: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (signal.aborted) return undefined
  // Without `terminal`, Ctrl-C stays a signal for the process.
  const lines = createInterface({ input, terminal: false })
  const ask = () => output.write(`MFA code of ${serial} (profile ${profile}), or Enter for none: `)
  try {
    ask()
    return await new Promise<string | undefined>(resolve => {
      let attempts = 0
      const give = () => {
        output.write('\n')
        resolve(undefined)
      }
      signal.addEventListener('abort', give, { once: true })
      lines.once('close', give)
      lines.on('line', line => {
        const text = line.replaceAll(' ', '').trim()
        if (CODE.test(text)) return resolve(text)
        if (text === '' || ++attempts === MAX_ATTEMPTS) return resolve(undefined)
        output.write('A code has six digits.\n')
        ask()
      })
    })
  } finally {
    lines.removeAllListeners()
    lines.close()
    input.pause()
  }
}

/** The terminal of this process, where a person can answer; undefined without one. */
export function processTerminal(): Terminal | undefined {
  const { stdin, stdout } = process
  return stdin.isTTY && stdout.isTTY ? { input: stdin, output: stdout } : undefined
}
