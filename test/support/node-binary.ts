/** Releases of Node.js from npm: the package `node`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The path of this version's `node`, from npm where node_modules/.cache does not have it yet. */
export async function installNode(version: string): Promise<string> {
  const directory = join(root, 'node_modules/.cache/node', version)
  const node = join(directory, 'node_modules/node/bin/node')
  if (
    await access(node).then(
      () => true,
      () => false,
    )
  )
    return node
  await mkdir(directory, { recursive: true })
  // Its script installs the binary of this system and processor.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts=false', `--prefix=${directory}`]
  const child = spawn('npm', [...args, `node@${version}`], { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', chunk => {
    said += chunk
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`npm install node@${version} failed: ${said.trim().split('\n')[0]}`)
  await access(node)
  return node
}
