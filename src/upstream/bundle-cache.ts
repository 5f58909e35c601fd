/**
 * The folder with downloaded CA certificates, one file for each region. Anyone who can write to it could add a CA, so
 * a folder or file that other users can write to is refused.
 */
import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { ProxyError, systemCode } from '../errors.ts'
import { MAX_BUNDLE_BYTES, parseBundle, type RdsRoot, rootsOfRegion } from './rds-bundle.ts'

/** The folder if none is given; undefined if there is no home directory. https://specifications.freedesktop.org/basedir-spec/latest/ */
export function defaultCacheFolder(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const { XDG_CACHE_HOME: base = '' } = environment
  // The specification says to ignore a relative path.
  if (isAbsolute(base)) return join(base, 'mysql-iam-proxy')
  const home = environment['HOME'] || homeOfUser()
  return home && isAbsolute(home) ? join(home, '.cache', 'mysql-iam-proxy') : undefined
}

/** Fails for a user id without an entry in /etc/passwd, as in some containers. */
function homeOfUser(): string | undefined {
  try {
    return homedir()
  } catch {
    return undefined
  }
}

/** The file of a region. */
export function bundleFile(folder: string, region: string): string {
  return join(folder, `${region}-bundle.pem`)
}

/** A file as it was read. */
export interface CachedBundle {
  roots: RdsRoot[]
  /** changes when the file does; '' if there is none */
  version: string
}

export const NO_BUNDLE: CachedBundle = { roots: [], version: '' }

/** Changes when the file does; '' if there is none, or no folder. */
export async function versionOfBundle(folder: string, region: string): Promise<string> {
  try {
    return versionOf(await stat(bundleFile(folder, region)))
  } catch {
    return ''
  }
}

/** @throws ProxyError CONFIG_INVALID for a folder or file that others can change, TRUST_UPDATE_FAILED for an invalid file */
export async function readBundle(folder: string, region: string, now = Date.now()): Promise<CachedBundle> {
  const file = bundleFile(folder, region)
  try {
    assertPrivate(folder, await stat(folder))
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const status = await handle.stat()
      if (!status.isFile() || status.size > MAX_BUNDLE_BYTES) throw unusable(file, 'is not a file of CA certificates')
      assertPrivate(file, status)
      const bundle = parseBundle(await handle.readFile('utf8'), file, now)
      return { roots: rootsOfRegion(bundle, region, file), version: versionOf(status) }
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof ProxyError) throw error
    if (systemCode(error) === 'ENOENT') return NO_BUNDLE
    throw unusable(file, systemCode(error) === 'ELOOP' ? 'is a symbolic link' : `cannot be read (${systemCode(error)})`)
  }
}

/** Replaces the file of a region at once, so that no reader sees half of it. @throws ProxyError CONFIG_INVALID */
export async function writeBundle(folder: string, region: string, roots: readonly RdsRoot[]): Promise<void> {
  const file = bundleFile(folder, region)
  const draft = join(folder, `.${region}-${randomBytes(8).toString('hex')}`)
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 })
    assertPrivate(folder, await stat(folder))
    // 'wx' follows no link, and rename replaces one.
    const handle = await open(draft, 'wx', 0o644)
    try {
      await handle.chmod(0o644)
      await handle.writeFile(roots.map(({ pem }) => pem).join(''))
      await handle.datasync()
    } finally {
      await handle.close()
    }
    await rename(draft, file)
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {})
    if (error instanceof ProxyError) throw error
    throw unusable(folder, `cannot be written to (${systemCode(error)})`)
  }
}

/** Removes the file of a region that has nothing to add to the built-in bundle. @throws ProxyError CONFIG_INVALID */
export async function removeBundle(folder: string, region: string): Promise<void> {
  const file = bundleFile(folder, region)
  await rm(file, { force: true }).catch(error => {
    throw unusable(file, `cannot be removed (${systemCode(error)})`)
  })
}

/** Group and others may not write; the owner is this user, or root. */
function assertPrivate(path: string, { uid, mode }: Stats): void {
  const user = process.geteuid?.()
  if (user === undefined) return // Windows
  if (uid !== user && uid !== 0) throw unusable(path, 'belongs to another user')
  if ((mode & 0o022) !== 0) throw unusable(path, 'can be changed by other users; run chmod go-w on it')
}

function versionOf({ mtimeMs, ctimeMs, ino, size }: Stats): string {
  return `${mtimeMs} ${ctimeMs} ${ino} ${size}`
}

function unusable(path: string, problem: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', `bundle cache: ${path} ${problem}`)
}
