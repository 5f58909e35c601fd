/** `mysql-iam-proxy explain [CODE]`: what an error means, what to do about it, and where to read more. */

import { CLIENT_ERRORS, ERRORS, type ErrorSource, SERVER_ERRORS } from '../error-codes.ts'
import { fillHint, ProxyError } from '../errors.ts'
import { newErrorCode } from '../renames.ts'
import { nearest, wrap } from '../text.ts'

/** One row of the three tables. */
interface Entry {
  /** the code of this project, or the symbol of the server or the client */
  name: string
  errno: number
  source: ErrorSource
  /** after the name: where the error comes from, or its exit code */
  numbers: string
  hint: string
  explanation: string
  docs: string
}

const ENTRIES: Entry[] = [
  ...Object.entries(SERVER_ERRORS).map(([errno, row]) => ({
    ...row,
    errno: Number(errno),
    source: 'database' as const,
    numbers: `ERROR ${errno} of the server`,
  })),
  ...Object.entries(ERRORS).map(([name, row]) => ({
    name,
    ...row,
    numbers: `ERROR ${row.errno}, exit code ${row.exitCode}`,
  })),
  ...Object.entries(CLIENT_ERRORS).map(([errno, row]) => ({
    ...row,
    errno: Number(errno),
    source: 'client' as const,
    numbers: `ERROR ${errno} of the client`,
  })),
]

/** Values for the placeholders of hints without an endpoint. */
const IN_GENERAL = {
  rds: 'the RDS endpoint',
  dial: 'the address of --connect',
  region: 'REGION',
  user: 'USER',
  ssoLogin: 'mysql-iam-proxy login --profile NAME',
  action: 'the action in the message',
  nextStep: 'Do what the error says; docs/sync-targets.md has the next step for each reason.',
}

const WIDTH = 80

/**
 * The explanation of `code`: a code of this project, or a number or symbol of the server or the client. Upper and lower
 * case are the same. The list if there is no `code`.
 * @throws ProxyError CONFIG_INVALID for an unknown code, with the nearest known one
 */
export function explain(code: string | undefined): string {
  if (code === undefined) return list()
  const wanted = code.toUpperCase().replace(/^ERROR[ _]?/, '')
  const found = ENTRIES.filter(({ name, errno }) => name === wanted || String(errno) === wanted)
  if (found.length > 0) return found.map(toText).join('\n')
  const renamed = newErrorCode(wanted)
  if (renamed) return `${wanted} is now ${renamed}\n\n${explain(renamed)}`
  const meant = nearest(
    wanted,
    ENTRIES.map(({ name }) => name),
  )
  const suggestion = meant ? `; did you mean ${meant}?` : ''
  throw new ProxyError('CONFIG_INVALID', `there is no error ${code.slice(0, 60)}${suggestion}`)
}

/** Every code, symbol and number with its explanation, for completions. */
export function errorCodes(): [code: string, explanation: string][] {
  const numbers = ENTRIES.map(({ errno, name }): [string, string] => [String(errno), name])
  return [...ENTRIES.map(({ name, explanation }): [string, string] => [name, explanation]), ...new Map(numbers)]
}

function toText({ name, numbers, source, hint, explanation, docs }: Entry): string {
  const paragraphs = [explanation]
  if (hint) paragraphs.push(`What to do: ${fillHint(hint, IN_GENERAL)}`)
  paragraphs.push(`Source: ${source}. More: ${docs}`)
  const lines = paragraphs.map(text => wrap(text, WIDTH - 2).map(line => `  ${line}`))
  return [`${name} (${numbers})`, ...lines.flatMap(paragraph => ['', ...paragraph]), ''].join('\n')
}

function list(): string {
  const width = Math.max(...ENTRIES.map(({ name }) => name.length))
  const rows = ENTRIES.map(({ name, errno, explanation }) => {
    const [first] = wrap(explanation, WIDTH - width - 10)
    const more = first === explanation ? '' : ' …'
    return `${errno}  ${name.padEnd(width)}  ${first}${more}`
  })
  return `${rows.join('\n')}\n\nRun mysql-iam-proxy explain CODE for more, for example: explain 1045\n`
}
