/** SHA-256 sums of a release's files, in the format of sha256sum, and the table of their sizes. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

const SUMS = 'SHA256SUMS'
const BYTES_PER_MB = 1_000_000

/** Writes SHA256SUMS for all files in `release`; resolves with their names. */
export async function writeSums(release: string): Promise<string[]> {
  const names = (await readdir(release)).filter(name => name !== SUMS).sort()
  const lines: string[] = []
  for (const name of names) {
    const hash = createHash('sha256')
    await pipeline(createReadStream(join(release, name)), hash)
    lines.push(`${hash.digest('hex')}  ${name}\n`)
  }
  await writeFile(join(release, SUMS), lines.join(''))
  return names
}

/** One line for each file: MB, MB after gzip, name. */
export async function printSizes(release: string, names: readonly string[]): Promise<string> {
  const rows = ['      MB    gzip  file']
  for (const name of names) {
    const path = join(release, name)
    const megabytes = (bytes: number) => (bytes / BYTES_PER_MB).toFixed(2)
    const compressed = await gzipSize(path)
    rows.push(`${megabytes((await stat(path)).size).padStart(8)}${megabytes(compressed).padStart(8)}  ${name}`)
  }
  return rows.join('\n')
}

async function gzipSize(path: string): Promise<number> {
  let bytes = 0
  await pipeline(createReadStream(path), createGzip(), async source => {
    for await (const chunk of source) bytes += chunk.length
  })
  return bytes
}
