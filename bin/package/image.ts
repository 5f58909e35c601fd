/** The image for both processors as an OCI archive, by buildah from examples/docker/release.Dockerfile. */
import { join } from 'node:path'
import { type Context, MissingTool } from './context.ts'
import { NAME, ROOT, sourceDate } from './project.ts'
import { executableIn, runTool } from './tool.ts'

const PLATFORMS = 'linux/amd64,linux/arm64'
const BUILDER = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`

const SETTINGS = [
  ...['--file', join(ROOT, 'examples/docker/release.Dockerfile')],
  // buildah 1.28, in Debian 12, does not set it.
  ...['--build-arg', `BUILDPLATFORM=${BUILDER}`],
  // The base comes from the registry, unless buildah has it.
  '--pull=false',
  // the libraries, and the executable
  '--layers',
]

/** The name of the archive in dist/release. */
export const imageFile = (version: string): string => `${NAME}-${version}-image.tar`

/** buildah needs neither a daemon nor root. */
export async function makeImage(context: Context): Promise<string[]> {
  const { version, release } = context
  for (const target of ['linux-x64', 'linux-arm64']) await executableIn(context, target)
  const file = imageFile(version)
  const name = `localhost/${NAME}:${version}-${process.pid}`
  // The time is that of the commit, as in the other packages.
  const time = String(sourceDate().getTime() / 1_000)
  const about = ['--timestamp', time, '--label', `org.opencontainers.image.version=${version}`]
  try {
    await buildah('build', '--platform', PLATFORMS, '--manifest', name, ...about, ...SETTINGS, release)
    await buildah('manifest', 'push', '--all', name, `oci-archive:${join(release, file)}`)
  } finally {
    await buildah('manifest', 'rm', name).catch(() => {})
  }
  return [file]
}

async function buildah(...args: string[]): Promise<void> {
  try {
    await runTool(['buildah', ...args], 'buildah')
  } catch (error) {
    const { message } = error as Error
    if (!isUnreachable(message)) throw error
    throw new MissingTool(`buildah cannot reach the registry of the base: ${message.trim().split('\n').at(-1)}`)
  }
}

/** True for errors of buildah about a registry that is unreachable. */
export function isUnreachable(message: string): boolean {
  return /pinging container registry [^\n]*(dial tcp|timeout|EOF)/.test(message)
}
