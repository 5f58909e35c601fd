/** The files of the .deb and the .rpm, as they are installed. */
import { chmod, copyFile, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { manPage } from '../../docs/make-man.ts'
import { completionScript } from '../../src/commands/completion.ts'
import { bundledPackages } from './bundle.ts'
import { thirdPartyNotices } from './notices.ts'
import { NAME, ROOT } from './project.ts'

/** Folders that Debian and Fedora name differently. */
export interface Places {
  zshCompletions: string
  /** for the license of this project, under /usr/share */
  license: string
  /** of the license in the repository */
  licenseText(): Promise<string>
  /** of Node.js */
  nodeLicense: string
}

/** The parts of a package's root, by their path without a slash in front. */
export const PATHS = {
  program: `usr/bin/${NAME}`,
  unit: `usr/lib/systemd/system/${NAME}.service`,
  config: `etc/${NAME}/config.yaml`,
  manual: `usr/share/man/man1/${NAME}.1.gz`,
  docs: `usr/share/doc/${NAME}`,
} as const

/** Only root and the group of the service may read the configuration. */
export const CONFIG_MODE = 0o640
export const CONFIG_FOLDER_MODE = 0o750

/** Fills the folder `tree`. @param executable the file that becomes /usr/bin/mysql-iam-proxy */
export async function makeTree(tree: string, executable: string, places: Places): Promise<void> {
  process.umask(0o022) // so that no mode depends on the builder's
  const put = putInto(tree)
  const packed = (text: string) => gzipSync(text, { level: 9 })
  await mkdir(join(tree, dirname(PATHS.program)), { recursive: true })
  await copyFile(executable, join(tree, PATHS.program))
  await chmod(join(tree, PATHS.program), 0o755)
  await put(PATHS.unit, serviceUnit(await readFile(join(ROOT, `examples/systemd/${NAME}.service`), 'utf8')))
  await put(PATHS.config, await readFile(join(import.meta.dirname, 'linux/config.yaml')), CONFIG_MODE)
  await chmod(join(tree, dirname(PATHS.config)), CONFIG_FOLDER_MODE)
  await put(PATHS.manual, packed(manPage()))
  await put(`usr/share/bash-completion/completions/${NAME}`, completionScript('bash', {}))
  await put(join(places.zshCompletions, `_${NAME}`), completionScript('zsh', {}))
  await put(`usr/share/fish/vendor_completions.d/${NAME}.fish`, completionScript('fish', {}))
  await put(places.license, await places.licenseText())
  await put(
    `${PATHS.docs}/THIRD-PARTY-NOTICES.gz`,
    packed(await thirdPartyNotices(await bundledPackages(), places.nodeLicense)),
  )
  await put(`${PATHS.docs}/README.md`, await readFile(join(ROOT, 'README.md')))
  await put(`${PATHS.docs}/CHANGELOG.md.gz`, packed(await readFile(join(ROOT, 'CHANGELOG.md'), 'utf8')))
  await cp(join(ROOT, 'examples/systemd'), join(tree, PATHS.docs, 'examples/systemd'), { recursive: true })
}

/** Writes files of a tree, with their folders. */
export function putInto(tree: string) {
  return async (path: string, content: string | Buffer, mode = 0o644): Promise<void> => {
    await mkdir(join(tree, dirname(path)), { recursive: true })
    await writeFile(join(tree, path), content)
    await chmod(join(tree, path), mode)
  }
}

/**
 * The unit of examples/systemd as a package installs it: with a user that stays, so that files of /etc can be readable for it
 * alone, and without a socket or a password file, which a configuration may not have.
 * @throws Error where the example no longer has a line that changes
 */
export function serviceUnit(example: string): string {
  const changes: readonly (readonly [line: RegExp, change: string])[] = [
    [/^Documentation=.*$/m, `Documentation=man:${NAME}(1) file:///${PATHS.docs}/README.md`],
    [/^Requires=.*\.socket\n/m, ''],
    [/^ExecStart=mysql-iam-proxy /m, `ExecStart=/${PATHS.program} `],
    [/^ExecReload=mysql-iam-proxy /m, `ExecReload=/${PATHS.program} `],
    [/^#.*\nLoadCredential=.*\n/m, ''],
    [
      /^#.*\nDynamicUser=yes$/m,
      `User=${NAME}\n# the CA certificates that \`mysql-iam-proxy trust update\` and region-bundle: auto download\nCacheDirectory=${NAME}\nEnvironment=XDG_CACHE_HOME=/var/cache`,
    ],
  ]
  return changes.reduce((unit, [line, change]) => {
    if (!line.test(unit)) throw new Error(`examples/systemd/${NAME}.service has no line ${line}`)
    return unit.replace(line, () => change)
  }, example)
}

/** In a fixed order, so that two builds are equal. */
export async function filesIn(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true })
  const paths = entries.filter(entry => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
  return paths.map(path => relative(tree, path)).sort()
}
