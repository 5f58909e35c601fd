/** The executables that `npm run package` has made. */
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { executableName } from '../../bin/package/executables.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The path of the executable for a platform such as linux-x64. */
export async function releasedFile(target: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const path = join(root, 'dist/release', executableName(version, target))
  await access(path).catch(() => {
    throw new Error(`${path} is missing. Run npm run package first.`)
  })
  return path
}
