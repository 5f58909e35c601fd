/** The version of this package. */
import { readFileSync } from 'node:fs'

export function packageVersion(): string {
  // src/ and dist/src/ lie at different depths below package.json.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
    } catch {}
  }
  return 'unknown'
}
