/** Installs clients, into a cache or as Debian packages. Errors contain the reason. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const isRoot = process.getuid?.() === 0
/** Ends installations on a machine without a network. */
const TIMEOUT_MS = 400_000

export const clientsDirectory = fileURLToPath(new URL('clients/', import.meta.url))
export const cacheDirectory = fileURLToPath(new URL('../../node_modules/.cache/compat/', import.meta.url))

export async function run(program: string, args: string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Promise<string> {
  mkdirSync(cacheDirectory, { recursive: true })
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, {
      env: { ...process.env, ...env },
      timeout: TIMEOUT_MS,
      maxBuffer: 64 << 20,
      cwd: cwd ?? cacheDirectory,
    })
    return stdout || stderr
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }
    if (code === 'ENOENT') throw new Error(`${program} is not installed`)
    const { stdout } = error as { stdout?: string }
    const said = `${stderr ?? ''}\n${stdout ?? ''}`.split('\n').filter(line => line.trim() !== '')
    const last = (said.find(line => /error|^E:/i.test(line)) ?? said.at(-1) ?? '').slice(0, 300)
    throw new Error(`${program} ${args[0] ?? ''} failed: ${last || (error as Error).message}`)
  }
}

let aptQueue: Promise<unknown> = Promise.resolve()

/** Installs missing Debian packages as root, in sequence. */
export async function debianPackages(...packages: string[]): Promise<void> {
  const install = async () => {
    const missing: string[] = []
    for (const name of packages) {
      const status = await run('dpkg-query', ['-s', name]).catch(() => '')
      if (!status.includes('\nStatus: install ok installed')) missing.push(name)
    }
    if (missing.length === 0) return
    const command = ['install', '-y', '--no-install-recommends', ...missing]
    if (!isRoot) throw new Error(`not installed; as root: apt-get ${command.join(' ')}`)
    await run('apt-get', command, { DEBIAN_FRONTEND: 'noninteractive' })
  }
  const mine = aptQueue.then(install)
  aptQueue = mine.catch(() => undefined)
  await mine
}

const made = new Map<string, Promise<string>>()

/** A directory of the cache. Created under a temporary name and then renamed, so that it is always complete. */
export function cached(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const directory = join(cacheDirectory, name)
  let promise = made.get(directory)
  if (!promise) {
    promise = (async () => {
      if (existsSync(directory)) return directory
      const unfinished = `${directory}.unfinished`
      await rm(unfinished, { recursive: true, force: true })
      await mkdir(unfinished, { recursive: true })
      await make(unfinished)
      await rename(unfinished, directory)
      return directory
    })()
    made.set(directory, promise)
  }
  return promise
}

/** The folder with test/compat/node/package.json's packages in its node_modules. */
export function nodeModules(): Promise<string> {
  return cached('node', async directory => {
    await copyFile(new URL('node/package.json', import.meta.url), join(directory, 'package.json'))
    await run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], {}, directory)
  })
}

/** A Python with these packages. Virtual environments cannot be moved, so this one is not created under a temporary name. */
export async function pythonWith(name: string, ...packages: string[]): Promise<string> {
  const directory = join(cacheDirectory, `python-${name}`)
  const python = join(directory, 'bin/python3')
  await cached(`python-${name}-installed`, async () => {
    await rm(directory, { recursive: true, force: true })
    await run('python3', ['-m', 'venv', directory])
    await run(python, ['-m', 'pip', 'install', '--quiet', ...packages])
  })
  return python
}

/** The class path of jars of Maven Central, each `group:artifact:version`, with their dependencies. */
export async function jars(name: string, ...artifacts: string[]): Promise<string> {
  const dependencies = artifacts.map(artifact => {
    const [group, id, version] = artifact.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${id}</artifactId><version>${version}</version></dependency>`
  })
  const directory = await cached(`java-${name}`, async directory => {
    await writeFile(
      join(directory, 'pom.xml'),
      `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>compat</groupId><artifactId>compat</artifactId><version>1</version>
<dependencies>${dependencies.join('\n')}</dependencies></project>`,
    )
    const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
    await run('mvn', ['-q', '-B', goal, '-DoutputDirectory=jars'], {}, directory)
  })
  return join(directory, 'jars', '*')
}
