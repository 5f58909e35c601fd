/** The files of --ca. */
import { readFile } from 'node:fs/promises'
import { ProxyError, systemCode } from './errors.ts'
import { checkPem } from './trust.ts'

/** The PEM text in `file`. @throws ProxyError CONFIG_INVALID */
export async function readCa(file: string): Promise<string> {
  const pem = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ProxyError('CONFIG_INVALID', `--ca ${file}: ${systemCode(error)}`, { cause: error })
  })
  checkPem(pem, `--ca ${file}`)
  return pem
}
