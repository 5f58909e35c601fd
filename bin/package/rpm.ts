/** mysql-iam-proxy-VERSION-1.x86_64.rpm and .aarch64.rpm, with rpmbuild. https://rpm-software-management.github.io/rpm/manual/spec.html */
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from './context.ts'
import { CONFIG_FOLDER_MODE, CONFIG_MODE, filesIn, makeTree, PATHS } from './linux-tree.ts'
import { DESCRIPTION, homepage, maintainer, NAME, ROOT, SUMMARY, sourceDate } from './project.ts'
import { executableIn, licenseOfNode, runTool } from './tool.ts'

/** RPM's names of processors, and those of Node.js. */
const ARCHITECTURES = { x86_64: 'linux-x64', aarch64: 'linux-arm64' } as const
const RELEASE = '1'

/** xz: readable for RPM 4.6 and later. gzip is fast, for tests. */
const PAYLOADS = { xz: 'w6.xzdio', gzip: 'w1.gzdio' } as const

export async function makeRpms(context: Context): Promise<string[]> {
  const files: string[] = []
  const nodeLicense = await licenseOfNode(context)
  for (const [architecture, target] of Object.entries(ARCHITECTURES)) {
    const executable = await executableIn(context, target)
    files.push(await makeRpm(context, { architecture, executable, nodeLicense, folder: context.release }))
  }
  return files
}

export interface Rpm {
  architecture: string
  executable: string
  /** the text of the license of Node.js */
  nodeLicense: string
  /** where the package goes */
  folder: string
  compression?: keyof typeof PAYLOADS
}

/** Makes one package; resolves with the name of its file. */
export async function makeRpm(
  { version, temporary }: Pick<Context, 'version' | 'temporary'>,
  { architecture, executable, nodeLicense, folder, compression = 'xz' }: Rpm,
): Promise<string> {
  const work = await mkdtemp(join(temporary, 'rpm-'))
  const tree = join(work, 'tree')
  await makeTree(tree, executable, {
    zshCompletions: 'usr/share/zsh/site-functions',
    license: `usr/share/licenses/${NAME}/LICENSE`,
    licenseText: () => readFile(join(ROOT, 'LICENSE'), 'utf8'),
    nodeLicense,
  })
  const spec = join(work, `${NAME}.spec`)
  await writeFile(spec, await specification(version, await filesIn(tree)))
  const defines: Record<string, string> = {
    _topdir: work,
    tree,
    _binary_payload: PAYLOADS[compression],
    // Two builds of a commit are equal.
    _buildhost: 'localhost',
    use_source_date_epoch_as_buildtime: '1',
    clamp_mtime_to_source_date_epoch: '1',
    // strip would remove the program from the executable.
    __os_install_post: '%{nil}',
    debug_package: '%{nil}',
    _build_id_links: 'none',
  }
  const options = Object.entries(defines).flatMap(([name, value]) => ['--define', `${name} ${value}`])
  // Only its own name is a target: rpmbuild of Debian has no macros for other processors.
  const target = ['--target', `${architecture}-linux`]
  await runTool(['rpmbuild', '-bb', '--noclean', ...target, ...options, spec], 'rpm', {
    SOURCE_DATE_EPOCH: String(sourceDate().getTime() / 1_000),
  })
  const file = `${NAME}-${rpmVersion(version)}-${RELEASE}.${architecture}.rpm`
  await rename(join(work, 'RPMS', architecture, file), join(folder, file))
  await rm(work, { recursive: true })
  return file
}

/** A `~` sorts before the release. */
export function rpmVersion(version: string): string {
  return version.replace('-', '~')
}

async function specification(version: string, files: readonly string[]): Promise<string> {
  const script = async (name: string) => (await readFile(join(import.meta.dirname, 'linux', name), 'utf8')).trim()
  const mode = (octal: number) => octal.toString(8).padStart(4, '0')
  const lines = files.map(path => {
    if (path === PATHS.config) return `%config(noreplace) %attr(${mode(CONFIG_MODE)}, root, ${NAME}) /${path}`
    if (path.startsWith('usr/share/licenses/')) return `%license /${path}`
    return path.startsWith(`${PATHS.docs}/`) || path === PATHS.manual ? `%doc /${path}` : `/${path}`
  })
  return `Name: ${NAME}
Version: ${rpmVersion(version)}
Release: ${RELEASE}
Summary: ${SUMMARY}
License: MIT AND Apache-2.0 AND ISC AND BSD-3-Clause AND 0BSD
URL: ${homepage()}
Vendor: ${maintainer()}
Requires(pre): /usr/sbin/useradd, /usr/sbin/groupadd

%description
${DESCRIPTION}

%install
cp -a %{tree}/. %{buildroot}/

%pre
${await script('rpm-pre')}

%post
${await script('rpm-post')}

%preun
${await script('rpm-preun')}

%postun
${await script('rpm-postun')}

%files
%defattr(-, root, root)
%dir %attr(${mode(CONFIG_FOLDER_MODE)}, root, ${NAME}) /etc/${NAME}
%dir /${PATHS.docs}
${lines.join('\n')}
`
}
