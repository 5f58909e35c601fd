/** A program that serves, with its log. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { PROGRAM } from './program.ts'

export interface LogLine {
  level: string
  msg: string
  [field: string]: unknown
}

export interface StartedProgram {
  child: ChildProcess
  lines(): LogLine[]
  /** Resolves with the first line, past or to come, whose message contains `text`. */
  logged(text: string): Promise<LogLine>
}

/**
 * Starts the program with nothing of this machine's own settings; ends it with the test.
 * @param socket a listening socket, handed over as systemd does, with the name "mysql"
 */
export function startProgram(t: Test, args: string[], environment: NodeJS.ProcessEnv, socket?: number): StartedProgram {
  const sockets = socket === undefined ? {} : { LISTEN_FDS: '1', LISTEN_FDNAMES: 'mysql' }
  const inShell = socket === undefined ? [] : ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh']
  const [command, ...first] = [...inShell, ...PROGRAM] as [string, ...string[]]
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_)/.test(name))
  const child = spawn(command, [...first, ...args], {
    env: { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true', ...sockets, ...environment },
    stdio: ['ignore', 'pipe', 'pipe', ...(socket === undefined ? [] : [socket])],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: LogLine[] = []
  const waiting = new Set<() => void>()
  let stderr = ''
  child.stderr!.on('data', chunk => {
    stderr += chunk
  })
  createInterface(child.stdout!).on('line', line => {
    lines.push(JSON.parse(line))
    for (const look of waiting) look()
  })
  return {
    child,
    lines: () => lines,
    logged: text =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find(({ msg }) => msg.includes(text))
          if (!found) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        child.once('close', code => reject(new Error(`ended with ${code} before "${text}": ${stderr}`)))
        look()
      }),
  }
}
