/** Files that options name. */
import { readFile } from 'node:fs/promises'
import { ProxyError, systemCode } from './errors.ts'

/** The text in `file`, which is UTF-8. @param what names it in the error, as in '--ca'. @throws ProxyError CONFIG_INVALID */
export async function readText(what: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new ProxyError('CONFIG_INVALID', `${what} ${file}: ${systemCode(error)}`, { cause: error })
  }
}
