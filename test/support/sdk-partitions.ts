/** The partitions and regions that the AWS SDK knows. Its data are no part of its API, so they are read from its files. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

export interface Partition {
  id: string
  /** with pseudo regions such as aws-global */
  regions: string[]
}

const FILE = 'dist-es/submodules/client/util-endpoints/lib/aws/partitions.js'

export async function sdkPartitions(): Promise<Partition[]> {
  const folder = dirname(createRequire(import.meta.url).resolve('@aws-sdk/core/package.json'))
  const { partitionsInfo } = (await import(pathToFileURL(join(folder, FILE)).href)) as {
    partitionsInfo: { partitions: { id: string; regions: Record<string, unknown> }[] }
  }
  return partitionsInfo.partitions.map(({ id, regions }) => ({ id, regions: Object.keys(regions) }))
}
