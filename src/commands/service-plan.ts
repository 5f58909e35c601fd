/** What a service of the operating system is made of: files, and commands of its service manager. */
import type { HomeOfService } from './service-program.ts'

export interface ServiceContext {
  /** the program and its first arguments, absolute */
  program: readonly string[]
  /** the configuration file, absolute */
  config: string
  /** milliseconds that sessions have to finish when the service stops: max-sigterm-delay */
  drainMs: number
  /** the variables that the person asked to carry over */
  environment: Readonly<Record<string, string>>
  home: HomeOfService
  /** of the person; on Windows with the domain: DOMAIN\name */
  user: { name: string; uid: number }
}

export interface ServiceFile {
  path: string
  text: string
  /** of a POSIX file system */
  mode: number
  encoding: 'utf8' | 'utf16'
}

/** A command of the service manager. */
export interface ServiceStep {
  words: readonly string[]
  /** it fails where there is nothing to do */
  mayFail?: boolean
  /** milliseconds to try it again, where the manager still works on the step before */
  retryMs?: number
}

export interface ServicePlan {
  /** for people: 'the systemd user unit mysql-iam-proxy.service' */
  name: string
  files: readonly ServiceFile[]
  /** files that the service writes itself; uninstall removes them too */
  writes: readonly string[]
  /** after the files are written */
  start: readonly ServiceStep[]
  /** before the files are removed */
  stop: readonly ServiceStep[]
  /** after the files are removed */
  forget: readonly ServiceStep[]
  /** whether the manager can only kill the proxy, so that it must be asked to stop */
  killsOnly: boolean
  status: readonly string[]
  logs(follow: boolean): readonly string[]
  /** what a person should know after install */
  notes: readonly string[]
}

/** The name of the unit, the agent and the task. */
export const SERVICE_NAME = 'mysql-iam-proxy'

/** Lines of a log that are shown. */
export const SHOWN_LINES = 200

export const WRITTEN_BY = 'Written by mysql-iam-proxy service install; mysql-iam-proxy service uninstall removes it.'

/** Between a failure and the next start. A failure is also a database that does not resolve yet, after a login without network. */
export const RESTART_SECONDS = 5

/** Text of an element or an attribute of XML. */
export function xml(text: string): string {
  return text.replace(/[&<>"']/g, character => `&#${character.codePointAt(0)};`)
}
