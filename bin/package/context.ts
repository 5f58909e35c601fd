/** What each step of `npm run package` gets and gives. */

export interface Context {
  /** of package.json */
  version: string
  /** the directory for the files of a release, dist/release */
  release: string
  /** a directory for what nobody keeps */
  temporary: string
  log(line: string): void
}

/** Puts files into `context.release`; resolves with their names. Throws MissingTool where a release tool is missing. */
export type Step = (context: Context) => Promise<string[]>

/** A release tool is missing on this machine. The step's files are not made, and `npm run package` goes on. */
export class MissingTool extends Error {}
