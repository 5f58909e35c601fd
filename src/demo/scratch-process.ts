import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A private temporary directory and a process that works in it; neither outlives this process, however that ends. */
export interface ScratchProcess {
  directory: string
  /** what the process wrote */
  logFile: string
  /** Starts a process, one at a time. Rejects where it can't be started. */
  run(command: string, args: string[]): Promise<ChildProcess>
  /** Kills what still runs and removes the directory. */
  release(): Promise<void>
}

/** Reads process ids until the other end of the pipe is gone, by release() or by death; an empty line means none. */
const WATCH = `
group=
while read -r pid; do group=$pid; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
`

/** Makes the directory, with access for its owner only. */
export async function createKeeper(): Promise<ScratchProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-demo-'))
  const logFile = join(directory, 'log')
  // Detached, all of them: Ctrl-C in a terminal reaches a whole process group, and the order of ending is ours.
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
