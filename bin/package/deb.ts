/** mysql-iam-proxy_VERSION_amd64.deb and _arm64.deb, with dpkg-deb. https://www.debian.org/doc/debian-policy/ */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { gzipSync } from 'node:zlib'
import type { Context } from './context.ts'
import { filesIn, makeTree, PATHS, putInto } from './linux-tree.ts'
import { DESCRIPTION, homepage, maintainer, NAME, ROOT, SUMMARY, sourceDate } from './project.ts'
import { executableIn, licenseOfNode, runTool } from './tool.ts'

/** Debian's names of processors, and those of Node.js. */
const ARCHITECTURES = { amd64: 'linux-x64', arm64: 'linux-arm64' } as const

/** What the executables of Node.js need; glibc and libstdc++ as its releases are built. https://github.com/nodejs/node/blob/main/BUILDING.md */
const DEPENDS = 'adduser, libc6 (>= 2.28), libgcc-s1 | libgcc1, libstdc++6 (>= 5), init-system-helpers (>= 1.54~)'
const BYTES_PER_KIB = 1024
const SCRIPTS = ['postinst', 'prerm', 'postrm'] as const

export async function makeDebs(context: Context): Promise<string[]> {
  const files: string[] = []
  const nodeLicense = await licenseOfNode(context)
  for (const [architecture, target] of Object.entries(ARCHITECTURES)) {
    const executable = await executableIn(context, target)
    const file = `${NAME}_${debianVersion(context.version)}_${architecture}.deb`
    await makeDeb(context, { architecture, executable, nodeLicense, file: join(context.release, file) })
    files.push(file)
  }
  return files
}

export interface Deb {
  architecture: string
  executable: string
  /** the text of the license of Node.js */
  nodeLicense: string
  file: string
  /** xz by default, which every dpkg reads; gzip takes a tenth of the time */
  compression?: 'xz' | 'gzip'
}

/** Makes one package. */
export async function makeDeb(
  { version, temporary }: Pick<Context, 'version' | 'temporary'>,
  { architecture, executable, nodeLicense, file, compression = 'xz' }: Deb,
): Promise<void> {
  const tree = await mkdtemp(join(temporary, 'deb-'))
  await chmod(tree, 0o755)
  const license = `${PATHS.docs}/copyright`
  await makeTree(tree, executable, {
    zshCompletions: 'usr/share/zsh/vendor-completions',
    license,
    licenseText: copyright,
    nodeLicense,
  })
  const put = putInto(tree)
  await put(`${PATHS.docs}/changelog.gz`, gzipSync(debianChangelog(version), { level: 9 }))
  const linux = join(import.meta.dirname, 'linux')
  await put(`usr/share/lintian/overrides/${NAME}`, await readFile(join(linux, 'lintian-overrides')))
  const installed = await filesIn(tree)
  const sums: string[] = []
  let size = 0
  for (const path of installed) {
    const { size: bytes } = await stat(join(tree, path))
    size += Math.ceil(bytes / BYTES_PER_KIB)
    if (path !== PATHS.config) sums.push(`${await md5(join(tree, path))}  ${path}\n`)
  }
  await put('DEBIAN/control', control(version, architecture, size))
  await put('DEBIAN/conffiles', `/${PATHS.config}\n`)
  await put('DEBIAN/md5sums', sums.join(''))
  for (const script of SCRIPTS) await put(`DEBIAN/${script}`, await readFile(join(linux, script)), 0o755)
  // dpkg-deb gives all files the owner root, and no file a later time than that of the sources.
  const seconds = String(sourceDate().getTime() / 1_000)
  await runTool(['dpkg-deb', '--root-owner-group', `-Z${compression}`, '--build', tree, file], 'dpkg', {
    SOURCE_DATE_EPOCH: seconds,
  })
  await rm(tree, { recursive: true })
}

/** A `~` sorts before the release: 1.0.0~rc.1 before 1.0.0. */
export function debianVersion(version: string): string {
  return version.replace('-', '~')
}

function control(version: string, architecture: string, size: number): string {
  const description = DESCRIPTION.split('\n').map(line => ` ${line}`)
  return `Package: ${NAME}
Version: ${debianVersion(version)}
Architecture: ${architecture}
Maintainer: ${maintainer()}
Installed-Size: ${size}
Depends: ${DEPENDS}
Suggests: default-mysql-client
Section: database
Priority: optional
Homepage: ${homepage()}
Description: ${SUMMARY}
${description.join('\n')}
`
}

/** The one entry that Debian's tools read. The changes stand in CHANGELOG.md. */
function debianChangelog(version: string): string {
  const date = sourceDate().toUTCString().replace('GMT', '+0000')
  return `${NAME} (${debianVersion(version)}) unstable; urgency=medium

  * Release ${version}. See CHANGELOG.md.gz in this folder.

 -- ${maintainer()}  ${date}
`
}

/** https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ */
async function copyright(): Promise<string> {
  const license = await readFile(join(ROOT, 'LICENSE'), 'utf8')
  const [, holder, text] = /^MIT License\n\nCopyright \(c\) ([^\n]+)\n\n(.+)$/s.exec(license) ?? []
  if (holder === undefined || text === undefined) throw new Error('LICENSE is not the MIT License')
  const indented = text
    .trim()
    .split('\n')
    .map(line => ` ${line || '.'}`)
  const head = await readFile(join(import.meta.dirname, 'linux/copyright'), 'utf8')
  return `${head}Copyright: ${holder}\nLicense: MIT\n${indented.join('\n')}\n`
}

async function md5(path: string): Promise<string> {
  const hash = createHash('md5')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
