/** A process with a temporary directory. Both go away with this process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A private temporary directory and a process in it. Neither outlives this process, even if it is killed. */
export interface ScratchProcess {
  directory: string
  /** the output of the process */
  logFile: string
  /** Starts a process; only one may run at a time. Rejects if it cannot start. */
  run(command: string, args: string[]): Promise<ChildProcess>
  /** Kills the process if it still runs, and removes the directory. */
  release(): Promise<void>
}

/** Reads process ids until release() or the end of this process closes the pipe; an empty line means no process. */
const WATCH = `
group=
while read -r pid; do group=$pid; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
`

/** Creates the directory, with access for its owner only. */
export async function createScratchProcess(): Promise<ScratchProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-demo-'))
  const logFile = join(directory, 'log')
  // Detached, because Ctrl-C in a terminal signals the whole process group, and we stop the processes in our own order.
  const watch = spawn('/bin/sh', ['-c', WATCH, 'sh', directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watch.stdin.on('error', () => {})
  await once(watch, 'spawn')

  return {
    directory,
    logFile,
    async run(command, args) {
      const log = await open(logFile, 'a')
      try {
        const child = spawn(command, args, { cwd: directory, stdio: ['ignore', log.fd, log.fd], detached: true })
        child.once('exit', () => watch.stdin.write('\n'))
        await once(child, 'spawn')
        watch.stdin.write(`${child.pid}\n`)
        return child
      } finally {
        await log.close()
      }
    },
    async release() {
      if (watch.exitCode !== null || watch.signalCode !== null) return
      const exit = once(watch, 'exit')
      watch.stdin.end()
      await exit
    },
  }
}
