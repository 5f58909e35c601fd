/** Files with one password, or the hash of one. */
import { isUtf8 } from 'node:buffer'
import { readFile, stat } from 'node:fs/promises'
import { ProxyError, systemCode } from './errors.ts'
import type { Logger } from './log.ts'

/**
 * The password in `file`. A file whose content can hardly be meant is refused: the password would be another one than
 * the user types. Logs a warning about a file that other users can read or write.
 * @param label starts the error, for example '--local-password-file'
 * @throws ProxyError CONFIG_INVALID
 */
export async function readPassword(file: string, label: string, log: Logger): Promise<string> {
  let bytes: Buffer
  let mode: number
  try {
    bytes = await readFile(file)
    mode = (await stat(file)).mode
  } catch (error) {
    throw new ProxyError('CONFIG_INVALID', `${label} ${file}: ${systemCode(error)}`, { cause: error })
  }
  const problem = passwordProblem(bytes)
  if (problem) throw new ProxyError('CONFIG_INVALID', `${label} ${file}: ${problem}`)
  const access = accessOfOthers(mode)
  if (access) log.warn({ file }, `${label} ${file}: other users can ${access} it; use chmod 600`)
  return firstLine(bytes)
}

/** What the group and all other users may do. A group that may only read is common: secrets of containers have one. */
function accessOfOthers(mode: number): string | undefined {
  if (process.platform === 'win32') return undefined
  if ((mode & 0o022) !== 0) return 'write'
  return (mode & 0o004) !== 0 ? 'read' : undefined
}

/** Why `bytes` are not one password; undefined if they are. */
export function passwordProblem(bytes: Buffer): string | undefined {
  if (startsWith(bytes, 0xff, 0xfe) || startsWith(bytes, 0xfe, 0xff)) return 'is in UTF-16; save it as UTF-8'
  if (startsWith(bytes, 0xef, 0xbb, 0xbf)) return 'begins with a byte-order mark; save it as UTF-8 without'
  if (bytes.includes(0)) return 'contains a NUL byte; save it as UTF-8 text'
  if (!isUtf8(bytes)) return 'is not in UTF-8'
  const [password = '', ...more] = bytes.toString().split(/\r?\n/)
  if (password === '') return 'the first line is empty'
  if (more.some(line => line !== '')) return 'has more than one line'
  if (/^#(\s|$)/.test(password)) return 'contains a comment; it must contain only the password or its hash'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what it looks for
  if (/[\x00-\x1f\x7f]/.test(password)) return 'contains a control character'
  return undefined
}

function startsWith(bytes: Buffer, ...start: number[]): boolean {
  return start.every((byte, index) => bytes[index] === byte)
}

export function firstLine(bytes: Buffer): string {
  return bytes.toString().split(/\r?\n/, 1)[0]!
}
