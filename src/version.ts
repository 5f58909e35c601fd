/** The version of this package, from its package.json. */
import { readFileSync } from 'node:fs'

/** 'unknown' if there is no package.json, for example in a bundle. */
export function packageVersion(): string {
  // src/ and dist/src/ are at different depths below package.json.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
    } catch {}
  }
  return 'unknown'
}
