/** The Helm chart in examples/helm, and what Helm made from it. Helm itself runs only in `npm run chart`. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import type { Value } from './examples.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

export const chartDirectory = join(root, 'examples/helm/mysql-iam-proxy')

export interface Rendering {
  /** the file with Helm's output */
  path: string
  values: string
  release: string
  namespace: string
}

/** What `npm run chart` renders. */
export const renderings: Readonly<Record<'shared' | 'several', Rendering>> = {
  shared: {
    path: join(root, 'test/examples/chart/shared.yaml'),
    values: join(root, 'examples/helm/values.yaml'),
    release: 'mysql-iam-proxy',
    namespace: 'databases',
  },
  several: {
    path: join(root, 'test/examples/chart/several.yaml'),
    values: join(root, 'test/examples/chart/several-values.yaml'),
    release: 'rds',
    namespace: 'default',
  },
}

/**
 * The first line of a rendering: the hash of everything that Helm read. The schema does not count, because it changes with
 * each option of the proxy and never the output.
 */
export function headerOf(rendering: Rendering): string {
  const hash = createHash('sha256').update(readFileSync(rendering.values))
  const files = readdirSync(chartDirectory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name !== 'values.schema.json')
    .map(entry => join(entry.parentPath, entry.name))
  for (const path of files.sort())
    hash.update(path.slice(chartDirectory.length)).update('\0').update(readFileSync(path))
  return `# Helm's output for ${rendering.values.slice(root.length)}, by npm run chart; do not edit. sha256 of the input: ${hash.digest('hex')}`
}

/** The objects of a rendering. */
export function rendered(rendering: Rendering): Value[] {
  return parseAllDocuments(readFileSync(rendering.path, 'utf8')).map(document => document.toJS())
}
