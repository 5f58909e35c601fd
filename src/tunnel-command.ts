/** The command of the option tunnel: its words, and what the proxy fills in. */
import { isIP } from 'node:net'
import type { HostPort } from './endpoint.ts'
import { didYouMean } from './text.ts'

/** What a command may contain in braces. */
const PLACEHOLDERS = ['host', 'port', 'localPort']

const PLACEHOLDER = /\{([A-Za-z]+)\}/g

/**
 * The words of a command, with the quotes of a shell: '…', "…" and a backslash before a character. Nothing else of a shell
 * has a meaning, so no value that is filled in can become a command. On Windows, a backslash outside quotes is part of a path.
 * @throws Error that says what is wrong
 */
export function splitCommand(text: string, platform: NodeJS.Platform = process.platform): string[] {
  const words: string[] = []
  let word: string | undefined
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!
    if (/\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
      continue
    }
    word ??= ''
    if (character === "'" || character === '"') {
      const { content, end } = quoted(text, i)
      word += content
      i = end
    } else if (character === '\\' && i + 1 < text.length && platform !== 'win32') word += text[++i]
    else if ('|&;<>`'.includes(character) || (character === '$' && text[i + 1] === '(')) {
      throw new Error(`"${character}" needs a shell, which this command does not get; write sh -c '…'`)
    } else word += character
  }
  if (word !== undefined) words.push(word)
  return words
}

/** The text between the quotes that begin at `start`. */
function quoted(text: string, start: number): { content: string; end: number } {
  const quote = text[start]!
  let content = ''
  for (let i = start + 1; i < text.length; i++) {
    const character = text[i]!
    if (character === quote) return { content, end: i }
    if (quote === '"' && character === '\\' && '"\\$`'.includes(text[i + 1] ?? ' ')) content += text[++i]
    else content += character
  }
  throw new Error(`the quote ${quote} has no end`)
}

/** What is wrong with a command; undefined where nothing is. The command is not repeated: it may contain a secret. */
export function tunnelCommandProblem(text: string): string | undefined {
  let words: string[]
  try {
    words = splitCommand(text)
  } catch (error) {
    return (error as Error).message
  }
  if (!words[0]) return 'the command is empty'
  const names = [...text.matchAll(PLACEHOLDER)].map(([, name]) => name!)
  const unknown = names.find(name => !PLACEHOLDERS.includes(name))
  if (unknown !== undefined) return `{${unknown}} is unknown${didYouMean(unknown, PLACEHOLDERS)}`
  if (!names.includes('localPort')) {
    return 'the command has no {localPort}, the port on 127.0.0.1 that it must forward to {host}:{port}'
  }
  return undefined
}

/**
 * The words of a command with its values filled in. An IPv6 address stands in brackets.
 * @param target what the tunnel leads to
 */
export function fillCommand(text: string, target: HostPort, localPort: number): string[] {
  return splitCommand(text).map(word => fillText(word, target, localPort))
}

/** The same with a command as one text, to be shown. */
export function fillText(text: string, target: HostPort, localPort: number): string {
  const values: Record<string, string> = {
    host: isIP(target.host) === 6 ? `[${target.host}]` : target.host,
    port: String(target.port),
    localPort: String(localPort),
  }
  return text.replace(PLACEHOLDER, (whole, name: string) => values[name] ?? whole)
}
