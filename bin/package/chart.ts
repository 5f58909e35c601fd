/** The Helm chart as an archive, as `helm package` makes it. */
import { join } from 'node:path'
import type { Context } from './context.ts'
import { NAME, ROOT, sourceDate } from './project.ts'
import { runTool } from './tool.ts'

/** Without `chart`, it would have the name of the npm package. */
export const chartFile = (version: string): string => `${NAME}-chart-${version}.tgz`

export async function makeChart({ version, release }: Context): Promise<string[]> {
  const file = chartFile(version)
  // The same input gives the same archive.
  const settings = [
    '--sort=name',
    `--mtime=@${sourceDate().getTime() / 1_000}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--mode=a=rX,u+w',
  ]
  const tar = [
    '--create',
    '--file',
    join(release, file),
    '--use-compress-program=gzip -n',
    '--format=ustar',
    ...settings,
  ]
  await runTool(['tar', ...tar, '-C', join(ROOT, 'examples/helm'), NAME], 'tar')
  return [file]
}
