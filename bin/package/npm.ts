/** mysql-iam-proxy-VERSION.tgz: the package for npm. */
import type { Context } from './context.ts'
import { NAME, ROOT } from './project.ts'
import { runTool } from './tool.ts'

export async function makeNpmPackage({ version, release }: Context): Promise<string[]> {
  await runTool(['npm', 'pack', ROOT, '--pack-destination', release, '--silent'], 'npm', { INIT_CWD: ROOT })
  return [`${NAME}-${version}.tgz`]
}
