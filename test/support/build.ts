/** Sources and tests, compiled once for all processes of a test run. */
import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import { chmod, copyFile, cp, mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const FOLDERS = ['bin', 'src', 'test', 'bench', 'docs']

export interface Build {
  directory: string
  /** of Node.js, to run a TypeScript file of this project by its own path */
  nodeArguments: string[]
}

/**
 * Compiles into a new directory, so that no run sees an older source or another run's. From there, imports find the
 * packages. The directory lasts as long as this process.
 */
export async function buildTests(): Promise<Build> {
  const cache = join(root, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  const directory = await mkdtemp(join(cache, 'test-build-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  // Tests also run programs as another user.
  await chmod(directory, 0o755)
  const project = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      // `npm run typecheck` does it.
      noCheck: true,
      outDir: directory,
      rootDir: root,
      inlineSourceMap: true,
      sourceRoot: pathToFileURL(root).href,
    },
    include: FOLDERS.map(folder => join(root, folder)),
    exclude: [join(root, 'test/consumers/*/*')],
  }
  const projectFile = join(directory, 'tsconfig.json')
  await writeFile(projectFile, JSON.stringify(project))
  const compiler = join(root, 'node_modules/.bin/tsc')
  await promisify(execFile)(process.execPath, [compiler, '-p', projectFile]).catch(({ message, stdout }) => {
    throw new Error(`tsc: ${message} ${stdout}`)
  })
  // What the program reads beside its code.
  await copyFile(join(root, 'package.json'), join(directory, 'package.json'))
  await cp(join(root, 'src/admin/page'), join(directory, 'src/admin/page'), { recursive: true })
  const loader = new URL('loader.mjs', import.meta.url)
  loader.searchParams.set('build', directory)
  return { directory, nodeArguments: [`--import=${loader.href}`] }
}
