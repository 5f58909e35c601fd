/** The Helm chart as an archive, as `helm package` makes it. Its name differs from the npm package's. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Context } from './context.ts'

const directory = fileURLToPath(new URL('../../examples/helm', import.meta.url))

export async function makeChart({ version, release }: Context): Promise<string[]> {
  const file = `mysql-iam-proxy-chart-${version}.tgz`
  // The same input gives the same archive.
  const settings = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=go=rX,u+rw,a-s']
  const tar = ['--create', '--file', join(release, file), '--use-compress-program=gzip -n', ...settings]
  await promisify(execFile)('tar', [...tar, '-C', directory, 'mysql-iam-proxy'])
  return [file]
}
