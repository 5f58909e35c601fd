/**
 * `npm run try-image`: runs the image in dist/release as a container engine would: from its own root, read-only, as its user.
 * The image of another processor runs in qemu, with the libraries of the image. Needs root.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { imageFile } from '../../bin/package/image.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { findProgram } from '../support/packages.ts'

const MAX_COMPRESSED_BYTES = 60_000_000
const root = fileURLToPath(new URL('../..', import.meta.url))
const QEMU = 'qemu-aarch64-static'

interface Descriptor {
  mediaType: string
  digest: string
  size: number
  platform?: { architecture: string }
}

const print = (line: string) => process.stdout.write(`${line}\n`)

function run(command: string, args: string[], env: NodeJS.ProcessEnv = process.env): string {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env, cwd: root })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? status}\n${stdout}${stderr}`)
  return stdout
}

function check(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what)
  print(`  ${what}`)
}

const directory = mkdtempSync(join(tmpdir(), 'mysql-iam-proxy-image-'))
process.on('exit', () => rmSync(directory, { recursive: true }))
const archive = join(directory, 'archive')
mkdirSync(archive)
run('tar', ['-xf', join(root, 'dist/release', imageFile(packageJson.version)), '-C', archive])
const blob = (digest: string) => join(archive, 'blobs', digest.replace(':', '/'))
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
const [index] = json(join(archive, 'index.json')).manifests as Descriptor[]
const images = json(blob(index!.digest)).manifests as Descriptor[]

/** The program of the image as a command: in its root, read-only, with its variables, as its user and without capabilities. */
function inContainer(at: string, config: { User: string; Env: string[]; Entrypoint: string[] }): string[] {
  const script =
    'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount -t proc proc "$1/proc" && shift && exec "$@"'
  // The PATH is the image's.
  const program = [findProgram('chroot')!, `--userspec=${config.User}`, at, ...config.Entrypoint]
  const limits = ['setpriv', '--no-new-privs', '--bounding-set=-all,+sys_chroot,+setuid,+setgid']
  return ['unshare', '--mount', 'env', '-i', ...config.Env, '/bin/sh', '-ec', script, 'sh', at, ...limits, ...program]
}

for (const image of images) {
  const { layers, config } = json(blob(image.digest)) as { layers: Descriptor[]; config: Descriptor }
  const { architecture, config: settings } = json(blob(config.digest))
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  const size = layers.reduce((sum, layer) => sum + layer.size, 0)
  print(`linux/${architecture}: ${layers.map(layer => megabytes(layer.size)).join(' + ')} compressed`)
  check(size <= MAX_COMPRESSED_BYTES, `at most ${megabytes(MAX_COMPRESSED_BYTES)}`)
  check(/^[1-9]\d*:[1-9]\d*$/.test(settings.User), `user ${settings.User}`)
  check(settings.Labels['org.opencontainers.image.version'] === packageJson.version, 'the label has the version')

  const at = join(directory, architecture)
  mkdirSync(at, { mode: 0o755 })
  for (const layer of layers) run('tar', ['-xzf', blob(layer.digest), '-C', at])
  const files = readdirSync(at, { recursive: true, encoding: 'utf8' })
  const special = files.filter(file => (statSync(join(at, file), { throwIfNoEntry: false })?.mode ?? 0) & 0o6000)
  check(special.length === 0, 'nothing is set-uid or set-gid')
  const programs = files.filter(file => /(^|\/)s?bin\//.test(file))
  check(programs.join() === 'usr/bin/mysql-iam-proxy', 'the only program is mysql-iam-proxy')
  check(files.includes('usr/share/doc/mysql-iam-proxy/THIRD-PARTY-NOTICES'), 'the licences are in it')
  check(!files.some(file => /zoneinfo|gconv\//.test(file)), 'no time zones and no character sets')
  print(`  ${run('du', ['-s', '--apparent-size', '--block-size=MB', at]).split('\t')[0]} in its root`)

  const isOurs = architecture === (process.arch === 'x64' ? 'amd64' : process.arch)
  const qemu = findProgram(QEMU)
  if (!isOurs && !qemu) {
    print(`  not run: ${QEMU} is missing (Debian: apt-get install qemu-user-static)`)
    continue
  }
  mkdirSync(join(at, 'proc'), { recursive: true })
  const command = isOurs ? inContainer(at, settings) : [qemu!, '-L', at, join(at, settings.Entrypoint[0])]
  if (isOurs) {
    // The root is read-only: the shell of this test cannot write there either.
    const probe = [
      'unshare',
      '--mount',
      'sh',
      '-c',
      `mount --bind ${at} ${at} && mount -o remount,bind,ro ${at} && ! touch ${at}/x`,
    ]
    run(probe[0]!, probe.slice(1))
  }
  const script = join(root, 'test/platforms/try.ts')
  const output = run(process.execPath, ['--import=tsx', script, ...command])
  writeFileSync(join(directory, `${architecture}.log`), output)
  check(/A client logged in/.test(output), `--version, demo and a login ${isOurs ? 'in a read-only root' : 'in qemu'}`)
  check(/small built-in backend/.test(output) || !isOurs, 'the database of the demo is built in')
}
