/**
 * The package for npm. dist/src has the library with its types, dist/bin the program, and dist/chunks the code that both
 * import. What package.json lists under `dependencies` stays an import, and everything else is inside. dist/bundle has the
 * library for bundlers, with everything inside.
 */
import { chmod, cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from './context.ts'
import { thirdPartyNotices } from './notices.ts'
import { bundleForNpm, type NpmBundle } from './npm-bundle.ts'
import { NAME, ROOT } from './project.ts'
import { sbomOf } from './sbom-in-npm.ts'
import { runTool } from './tool.ts'

/** Other files of the package. */
const COPIED = ['CHANGELOG.md', 'LICENSE', 'README.md', 'docs', 'examples', 'package.json']

/** mysql-iam-proxy-VERSION.tgz */
export async function makeNpmPackage({ version, release, temporary }: Context): Promise<string[]> {
  await packInto(release, join(temporary, 'npm'))
  return [`${NAME}-${version}.tgz`]
}

/**
 * Makes the same archive as `npm pack`, but leaves dist/ of this folder alone, which other processes may use.
 * @param stage a folder for the files, which need not exist
 */
export async function packInto(directory: string, stage: string): Promise<NpmBundle> {
  await mkdir(stage, { recursive: true })
  for (const name of COPIED) await cp(join(ROOT, name), join(stage, name), { recursive: true })
  const bundle = await buildInto(stage)
  await runTool(['npm', 'pack', stage, '--ignore-scripts', '--silent', '--pack-destination', directory], 'npm')
  return bundle
}

/** Makes what package.json names and git does not have: dist/, THIRD-PARTY-NOTICES, sbom.cdx.json. */
export async function buildInto(directory: string): Promise<NpmBundle> {
  const dist = join(directory, 'dist')
  for (const folder of ['bin', 'bundle', 'chunks', 'src'])
    await rm(join(dist, folder), { recursive: true, force: true })
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  await runTool([process.execPath, tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', dist], 'nodejs')
  const bundle = await bundleForNpm(dist)
  await cp(join(ROOT, 'src/admin/page'), join(dist, 'src/admin/page'), { recursive: true })
  await chmod(join(dist, 'bin/mysql-iam-proxy.js'), 0o755)
  await writeFile(join(directory, 'THIRD-PARTY-NOTICES'), await thirdPartyNotices(bundle.packages))
  await writeFile(join(directory, 'sbom.cdx.json'), await sbomOf(bundle.packages))
  return bundle
}
