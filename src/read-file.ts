/** Reads files that options name. */
import { readFile } from 'node:fs/promises'
import { ProxyError, systemCode } from './errors.ts'

/** The text in `file`, as UTF-8. @param what starts the error. @throws ProxyError CONFIG_INVALID */
export async function readText(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new ProxyError('CONFIG_INVALID', `${what} ${file}: ${systemCode(error)}`, { cause: error })
  }
}
