/** The version of this package, from its package.json. */
import { readPackageFile } from './package-files.ts'

/** 'unknown' if there is no package.json, for example in a bundle. */
export function packageVersion(): string {
  try {
    return JSON.parse(readPackageFile('package.json')).version
  } catch {
    return 'unknown'
  }
}
