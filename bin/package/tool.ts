/** Runs the tools that packages need, and finds the executables that go into them. */
import { execFile } from 'node:child_process'
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Context, MissingTool } from './context.ts'
import { TARGETS } from './executables.ts'
import { unpackNode } from './node-binary.ts'
import { NAME } from './project.ts'

const run = promisify(execFile)
const MAX_OUTPUT_BYTES = 64 << 20

/**
 * Runs `command`; resolves with its standard output.
 * @param debianPackage brings the command
 * @throws MissingTool where the command is not installed, Error with the output where it fails
 */
export async function runTool(
  [command, ...args]: readonly [string, ...string[]],
  debianPackage: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  try {
    const env = { ...process.env, LC_ALL: 'C.UTF-8', ...environment }
    return (await run(command, args, { env, maxBuffer: MAX_OUTPUT_BYTES })).stdout
  } catch (error) {
    const { code, stdout = '', stderr = '' } = error as NodeJS.ErrnoException & { stdout?: string; stderr?: string }
    if (code === 'ENOENT') throw new MissingTool(`${command} is missing (Debian: apt-get install ${debianPackage})`)
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  }
}

/** The executable for `target`, such as linux-x64. @throws MissingTool where an earlier step has not made it */
export async function executableIn({ release, version }: Context, target: string): Promise<string> {
  const path = join(release, `${NAME}-${version}-${target}`)
  await access(path).catch(() => {
    throw new MissingTool(`${path} is missing`)
  })
  return path
}

/** The license in the package of Node.js that the executables are made of. */
export async function licenseOfNode({ temporary }: Pick<Context, 'temporary'>): Promise<string> {
  const { package: name, node } = TARGETS[0]!
  return await readFile(join(await unpackNode(name, node, temporary), 'LICENSE'), 'utf8')
}
