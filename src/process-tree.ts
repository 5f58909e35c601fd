/** Ends a program together with the programs that it has started. */
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Starts a program that may outlive this process. */
export type Start = (program: string, args: readonly string[]) => void

const startDetached: Start = (program, args) => {
  const child = spawn(program, args, { stdio: 'ignore', detached: true, windowsHide: true })
  child.on('error', () => {})
  child.unref()
}

/** Kills a process that still runs, and its descendants. Does not wait, so that it works at the exit of this process. */
export function killTree(
  pid: number,
  platform: NodeJS.Platform = process.platform,
  start: Start = startDetached,
): void {
  if (platform === 'win32') {
    // https://learn.microsoft.com/en-us/windows-server/administration/windows-commands/taskkill
    start('taskkill.exe', ['/PID', String(pid), '/T', '/F'])
    return
  }
  // From the snapshot: the children of a killed process have another parent.
  for (const one of [pid, ...descendantsOf(pid, platform)]) {
    try {
      process.kill(one, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
}

/** Linux shows children in /proc. On macOS and other systems, ps does. */
export function descendantsOf(pid: number, platform: NodeJS.Platform = process.platform): number[] {
  try {
    if (platform !== 'linux') {
      const table = execFileSync('ps', ['-axo', 'pid=,ppid='], { encoding: 'utf8', stdio: 'pipe', timeout: 2_000 })
      return descendantsIn(table, pid)
    }
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
    return children.flatMap(child => [child, ...descendantsOf(child, platform)])
  } catch {
    return []
  }
}

/** @param table lines of a process id and that of its parent */
export function descendantsIn(table: string, pid: number): number[] {
  const rows = table
    .trim()
    .split('\n')
    .map(line => line.trim().split(/\s+/).map(Number))
  const below = (parent: number): number[] =>
    rows.flatMap(([child, of]) => (of === parent && child !== parent ? [child!, ...below(child!)] : []))
  return below(pid)
}
