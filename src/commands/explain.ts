/** `mysql-iam-proxy explain [CODE]`: what an error explanation, what to do about it, and where more is written. */

import { ERRORS, SERVER_ERRORS } from '../error-codes.ts'
import { fillHint, ProxyError } from '../errors.ts'
import { nearest, wrap } from '../text.ts'

/** One row of either table. */
interface Entry {
  /** the project's code, or the server's symbol */
  name: string
  errno: number
  /** undefined where the server itself speaks */
  exitCode: number | undefined
  hint: string
  explanation: string
  docs: string
}

const ENTRIES: Entry[] = [
  ...Object.entries(SERVER_ERRORS).map(([errno, row]) => ({ ...row, errno: Number(errno), exitCode: undefined })),
  ...Object.entries(ERRORS).map(([name, row]) => ({ name, ...row })),
]

/** What a hint's placeholders stand for where there is no endpoint. */
const IN_GENERAL = {
  rds: 'the RDS endpoint',
  dial: 'the address of --connect',
  region: 'REGION',
  user: 'USER',
  ssoLogin: 'aws sso login --profile NAME',
}

const WIDTH = 80

/**
 * The explanation of `code`: a code of this project, an error number or a symbol of the server, in any case; without one, the list.
 * @throws ProxyError CONFIG_INVALID for a code that there is not, with the nearest that there is
 */
export function explain(code: string | undefined): string {
  if (code === undefined) return list()
  const wanted = code.toUpperCase().replace(/^ERROR[ _]?/, '')
  const found = ENTRIES.filter(({ name, errno }) => name === wanted || String(errno) === wanted)
  if (found.length > 0) return found.map(describe).join('\n')
  const meant = nearest(
    wanted,
    ENTRIES.map(({ name }) => name),
  )
  const suggestion = meant ? `; did you mean ${meant}?` : ''
  throw new ProxyError('CONFIG_INVALID', `there is no error ${code.slice(0, 60)}${suggestion}`)
}

function describe({ name, errno, exitCode, hint, explanation, docs }: Entry): string {
  const numbers = exitCode === undefined ? `ERROR ${errno} of the server` : `ERROR ${errno}, exit code ${exitCode}`
  const paragraphs = [explanation]
  if (hint) paragraphs.push(`What to do: ${fillHint(hint, IN_GENERAL)}`)
  paragraphs.push(`More: ${docs}`)
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
  return `${rows.join('\n')}\n\nmysql-iam-proxy explain CODE says more, for example: explain 1045\n`
}
