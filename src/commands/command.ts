/** What a row of the command table says, and what a command gets. */
import type { Command } from '../config/option-spec.ts'

export type Flags = Readonly<Record<string, string | string[] | boolean>>

/** A command line after it was read, and the process around it. */
export interface Invocation {
  flags: Flags
  /** the arguments that are not options, without the name of the command */
  words: readonly string[]
  /** the arguments after `--`, of `exec` */
  rest: readonly string[]
  /** the environment of the user, for programs that the command starts */
  environment: NodeJS.ProcessEnv
  /** aborted at SIGINT, SIGTERM or another signal that stops the program */
  stop: AbortSignal
  /** the first such signal, if one came */
  signal(): NodeJS.Signals | undefined
  /** to standard output, with a line end: data only. Progress and errors go to standard error */
  print(text: string): void
}

/** A command line to copy, and what it does. */
export type Example = readonly [line: string, does: string]

/** Names of endpoints in the configuration file, of commands, or codes of errors. */
export type WordKind = 'endpoints' | 'commands' | 'codes'

export interface CommandRow {
  /** in a few words, for the list of commands */
  describe: string
  /** its arguments besides options, as --help shows them: '[ENDPOINT...]' */
  usage?: string
  /** how many of them there may be; 0 by default */
  maxWords?: number
  /** the possible values of the first one. It is then required, unless `usage` is in brackets */
  choices?: readonly string[]
  /** what its words are, for completions; `choices` are completed anyway */
  completes?: WordKind
  /** at least one */
  examples: readonly Example[]
  /** where to read more: a page in docs/ */
  docs?: string
  /** the command handles signals itself: a second one does not end the process */
  ownsSignals?: boolean
  /**
   * Loads the command's module and runs it. Resolves with the exit code; undefined: 0, or 128 + the number of the signal
   * that came.
   */
  run(invocation: Invocation): Promise<number | undefined>
}

export type CommandTable = Readonly<Record<Command, CommandRow>>
