/** Writes the configuration file as a whole or not at all. */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ProxyError, systemCode } from '../errors.ts'

/** The text of the file; undefined if there is none. @throws ProxyError CONFIG_INVALID */
export async function readIfExists(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined
    throw new ProxyError('CONFIG_INVALID', `${path}: ${systemCode(cause)}`, { cause })
  }
}

/**
 * Replaces the file, with the folders on its path. A new file is only for its user (0600). An existing one keeps its
 * owner and permissions, except that others may no longer write it. A link stays, and the file behind it is replaced.
 * @param before the text that the new one was made from
 * @throws ProxyError CONFIG_INVALID, if the file has changed since, or cannot be written
 */
export async function replaceFile(path: string, before: string | undefined, text: string): Promise<void> {
  if ((await readIfExists(path)) !== before) {
    throw new ProxyError(
      'CONFIG_INVALID',
      `${path} has changed meanwhile, so nothing was written; run the command again`,
    )
  }
  let temporary: string | undefined
  try {
    const target = before === undefined ? path : await realpath(path)
    const present = before === undefined ? undefined : await stat(target)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    const name = join(dirname(target), `.config-${randomBytes(6).toString('hex')}.tmp`)
    const file = await open(name, 'wx', 0o600)
    temporary = name
    try {
      await file.writeFile(text)
      if (present) {
        await file.chmod(present.mode & 0o755)
        // Only root can give it away; for anybody else it is the same owner.
        if (present.uid !== process.getuid?.()) await file.chown(present.uid, present.gid).catch(() => {})
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, target)
  } catch (cause) {
    if (temporary) await unlink(temporary).catch(() => {})
    throw new ProxyError('CONFIG_INVALID', `cannot write ${path}: ${systemCode(cause)}`, { cause })
  }
}
