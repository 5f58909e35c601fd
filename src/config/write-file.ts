/** Writes the configuration file as a whole or not at all. */
import { type FileHandle, mkdir, open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
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
 * @param text undefined removes the file
 * @throws ProxyError CONFIG_INVALID, if the file has changed since, another process replaces it now, or it cannot be written
 */
export async function replaceFile(path: string, before: string | undefined, text: string | undefined): Promise<void> {
  // The new text goes into this file, which only one process can make. Its name is the same for all of them.
  let draft: string | undefined
  try {
    const target = (await realpath(path).catch(() => undefined)) ?? path
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    const name = join(dirname(target), `.${basename(target)}.lock`)
    const file = await open(name, 'wx', 0o600).catch(error => {
      if (systemCode(error) === 'EEXIST') throw isBeingWritten(path, name)
      throw error
    })
    draft = name
    try {
      if ((await readIfExists(path)) !== before) throw hasChanged(path)
      await fill(file, target, text ?? '', before !== undefined)
    } finally {
      await file.close()
    }
    if (text === undefined) {
      await unlink(path)
      await unlink(draft)
    } else await rename(draft, target)
  } catch (cause) {
    if (draft) await unlink(draft).catch(() => {})
    if (cause instanceof ProxyError) throw cause
    throw new ProxyError('CONFIG_INVALID', `cannot write ${path}: ${systemCode(cause)}`, { cause })
  }
}

async function fill(file: FileHandle, target: string, text: string, isPresent: boolean): Promise<void> {
  await file.writeFile(text)
  if (isPresent) {
    const { mode, uid, gid } = await stat(target)
    await file.chmod(mode & 0o755)
    // Only root can give it away; for anybody else it is the same owner.
    if (uid !== process.getuid?.()) await file.chown(uid, gid).catch(() => {})
  }
  await file.sync()
}

function hasChanged(path: string): ProxyError {
  return new ProxyError(
    'CONFIG_INVALID',
    `${path} has changed meanwhile, so nothing was written; run the command again`,
  )
}

function isBeingWritten(path: string, lock: string): ProxyError {
  const hint = `Run the command again. If no other add or remove is running, delete ${lock}.`
  return new ProxyError('CONFIG_INVALID', `another process is writing ${path}, so nothing was written`, { hint })
}
