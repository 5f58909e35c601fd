/** Runs a subset of Dockerfile instructions without Docker. The base is this machine, and stages are directories. */
import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, stat, symlink } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { type Copy, DockerfileParser, type Instruction, type JSONInstruction } from 'dockerfile-ast'

const run = promisify(execFile)

export interface Image {
  /** the root directory of the image */
  root: string
  base: string
  environment: Record<string, string>
  user: string
  workdir: string
  stopSignal: string
  entrypoint: string[]
}

/**
 * Builds the image of `dockerfile` and `context` under `directory`.
 *
 * RUN uses the shell of this machine and replaces absolute paths with the directories of the stage. It skips `npm ci` with
 * development dependencies, because node_modules of the context has the same content.
 * @throws Error for an unsupported instruction or form, and for a COPY of a file that .dockerignore excludes
 */
export async function buildWithoutDocker(dockerfile: string, context: string, directory: string): Promise<Image> {
  const ignored = await readIgnored(context)
  const stages = new Map<string, Image>()
  let image: Image | undefined
  const workdirs = new Set<string>()
  for (const instruction of DockerfileParser.parse(await readFile(dockerfile, 'utf8')).getInstructions()) {
    const keyword = instruction.getKeyword()
    const words = instruction.getArguments().map(argument => argument.getValue())
    if (keyword === 'FROM') {
      const [base, as, name] = words
      image = {
        root: join(directory, `stage-${stages.size}`),
        base: base!,
        environment: {},
        user: '0',
        workdir: '/',
        stopSignal: 'SIGTERM',
        entrypoint: [],
      }
      stages.set(as?.toUpperCase() === 'AS' ? name! : String(stages.size), image)
      workdirs.clear()
      await mkdir(image.root, { recursive: true })
      continue
    }
    if (!image) throw new Error(`${keyword} before FROM`)
    switch (keyword) {
      case 'WORKDIR':
        image.workdir = resolve(image.workdir, words[0]!)
        workdirs.add(image.workdir)
        await mkdir(join(image.root, image.workdir), { recursive: true })
        break
      case 'COPY':
        await copy(image, instruction as Copy, context, stages, ignored)
        break
      case 'RUN':
        await runInStage(image, instruction, [...workdirs], context)
        break
      case 'ENV':
        for (const word of words) {
          const [, name, value] = /^(\w+)=(.*)$/.exec(word) ?? []
          if (name === undefined) throw new Error(`ENV ${word}`)
          image.environment[name] = value!
        }
        break
      case 'USER':
        image.user = words[0]!
        break
      case 'STOPSIGNAL':
        image.stopSignal = words[0]!
        break
      case 'EXPOSE':
        break
      case 'ENTRYPOINT':
        image.entrypoint = execForm(instruction as JSONInstruction)
        break
      default:
        throw new Error(`${keyword} is not known here`)
    }
  }
  if (!image) throw new Error('no FROM')
  return image
}

async function copy(image: Image, instruction: Copy, context: string, stages: Map<string, Image>, ignored: Ignored) {
  const words = instruction.getArguments().map(argument => argument.getValue())
  const sources = words.slice(0, -1)
  const target = words.at(-1)!
  const flag = instruction.getFromFlag()?.getValue() ?? undefined
  const isPlain = instruction.getFlags().length === (flag === undefined ? 0 : 1)
  if (!isPlain || sources.some(source => /[*?[]/.test(source))) throw new Error(`COPY ${words.join(' ')}`)
  const from = flag === undefined ? context : stages.get(flag)?.root
  if (from === undefined) throw new Error(`COPY --from=${flag}: no such stage`)
  for (const source of sources) {
    if (flag === undefined && ignored(source)) throw new Error(`COPY ${source}: .dockerignore keeps it out`)
    const path = join(from, source)
    // COPY of a directory copies its content.
    const isDirectory = (await stat(path)).isDirectory()
    const into = join(image.root, resolve(image.workdir, target))
    const to = isDirectory || !/[/.]$/.test(target) ? into : join(into, basename(source))
    await cp(path, to, { recursive: true, verbatimSymlinks: true })
  }
}

async function runInStage(image: Image, instruction: Instruction, workdirs: string[], context: string) {
  const command = instruction.getRawArgumentsContent() ?? ''
  const cwd = join(image.root, image.workdir)
  if (/^npm ci\b/.test(command) && !command.includes('--omit=dev')) {
    await symlink(join(context, 'node_modules'), join(cwd, 'node_modules'))
    return
  }
  // `/app` at the start of a path, not in the middle
  const paths = new RegExp(`(?<=^|[\\s='"])(${workdirs.join('|')})(?=/|\\s|$)`, 'g')
  const mapped = command.replace(paths, path => join(image.root, path))
  // tap loads code into every Node.js process of a test, and tsc fails with it.
  await run('env', ['-u', 'NODE_OPTIONS', 'sh', '-ec', mapped], {
    cwd,
    env: { ...process.env, npm_config_prefer_offline: 'true', ...image.environment },
    maxBuffer: 16 << 20,
  })
}

function execForm(instruction: JSONInstruction): string[] {
  const words = instruction.getJSONStrings().map(argument => argument.getJSONValue())
  if (words.length === 0) throw new Error(`${instruction.getKeyword()} is not in exec form`)
  return words
}

type Ignored = (path: string) => boolean

/** A subset of `.dockerignore`: `*`, and names at the top level with `!`. */
async function readIgnored(context: string): Promise<Ignored> {
  const lines = (await readFile(join(context, '.dockerignore'), 'utf8')).split('\n')
  const patterns = lines.map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'))
  if (patterns[0] !== '*' || patterns.slice(1).some(pattern => !/^![\w.-]+$/.test(pattern))) {
    throw new Error('.dockerignore: only * and !name are supported')
  }
  const kept = new Set(patterns.slice(1).map(pattern => pattern.slice(1)))
  const present = new Set(await readdir(context))
  for (const name of kept) if (!present.has(name)) throw new Error(`.dockerignore keeps ${name}, which is not there`)
  return path => !kept.has(path.split('/')[0]!)
}
