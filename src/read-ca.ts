/** The files of --ca. */
import { readText } from './read-text.ts'
import { checkPem } from './trust.ts'

/** The PEM text in `file`. @throws ProxyError CONFIG_INVALID */
export async function readCa(file: string): Promise<string> {
  const pem = await readText('--ca', file)
  checkPem(pem, `--ca ${file}`)
  return pem
}
