/** How this process was started, to start the program again. */
import { realpathSync } from 'node:fs'
import { delimiter, isAbsolute, join, resolve } from 'node:path'
import { isSea } from 'node:sea'

export interface OwnCommand {
  program: string
  /** before the arguments of this program */
  first: string[]
}

/** What Node.js says of this process. */
export interface ProcessFacts {
  argv0: string
  argv: readonly string[]
  execPath: string
  execArgv: readonly string[]
  cwd: string
  path: string
  isExecutable: boolean
}

/**
 * By its path, as it was started: an update replaces the file there, or the link on the way to it. process.execPath has no
 * links, so it may name the directory of the old version.
 */
export function ownCommand(facts: ProcessFacts = factsOfProcess()): OwnCommand {
  const { argv, execPath, execArgv, isExecutable } = facts
  const program = candidates(facts).find(path => realPath(path) === realPath(execPath)) ?? execPath
  return { program, first: isExecutable ? [] : [...execArgv, argv[1]!] }
}

/** The file that the name in argv[0] may mean. */
function candidates({ argv0, cwd, path }: ProcessFacts): string[] {
  if (isAbsolute(argv0)) return [argv0]
  if (argv0.includes('/')) return [resolve(cwd, argv0)]
  return path.split(delimiter).map(folder => join(folder, argv0))
}

/** The file behind all links; undefined if there is none. */
export function realPath(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

function factsOfProcess(): ProcessFacts {
  const { argv0, argv, execPath, execArgv, env } = process
  return { argv0, argv, execPath, execArgv, cwd: process.cwd(), path: env['PATH'] ?? '', isExecutable: isSea() }
}
