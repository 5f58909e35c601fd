/** What `mysql-iam-proxy service` sees of the machine, and does on it besides writing files. */
import { spawn } from 'node:child_process'
import { userInfo } from 'node:os'
import { isSea } from 'node:sea'
import { type Clock, monotonicClock } from '../clock.ts'
import { askToStop, findProxies } from '../net/control.ts'
import { controlFolders } from '../net/control-place.ts'
import { realPath } from './own-command.ts'
import type { ThisProcess } from './service-program.ts'

/** The end of a command: undefined if there is no such program. */
export interface Ended {
  code: number | undefined
  /** what it said, if that was caught */
  output: string
}

/** What the command sees of the machine. */
export interface Machine {
  platform: NodeJS.Platform
  environment: NodeJS.ProcessEnv
  user: { name: string; uid: number }
  process: ThisProcess
  /** Runs a command to its end. @param isShown its output goes to the terminal, instead of into the result */
  run(words: readonly string[], isShown: boolean): Promise<Ended>
  /** Stops the proxies of this user that serve one of these files, and waits for their end. */
  stopProxies(isMeant: (config: string) => boolean): Promise<void>
  /** The kind of directory that a service of the system cannot look into; undefined for a path that it sees. */
  hiddenKind(path: string): 'home' | 'temporary' | undefined
  clock: Clock
}

/** The machine that this process runs on. */
export function thisMachine(environment: NodeJS.ProcessEnv): Machine {
  const { username, uid } = userInfo()
  const domain = process.platform === 'win32' ? environment['USERDOMAIN'] : undefined
  return {
    platform: process.platform,
    environment,
    user: { name: domain ? `${domain}\\${username}` : username, uid },
    process: {
      execPath: process.execPath,
      execArgv: process.execArgv,
      script: isSea() ? undefined : process.argv[1],
      realPath,
    },
    run: runCommand,
    stopProxies,
    hiddenKind,
    clock: monotonicClock,
  }
}

async function stopProxies(isMeant: (config: string) => boolean): Promise<void> {
  const proxies = await findProxies(controlFolders(process.env))
  for (const { address, config } of proxies) if (config !== null && isMeant(config)) await askToStop(address)
}

function runCommand(words: readonly string[], isShown: boolean): Promise<Ended> {
  return new Promise(resolve => {
    const [program, ...args] = words
    const child = spawn(program!, args, { stdio: isShown ? 'inherit' : ['ignore', 'pipe', 'pipe'], windowsHide: true })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', chunk => {
        output += chunk
      })
    }
    child.once('error', () => resolve({ code: undefined, output }))
    child.once('close', (code, signal) => resolve({ code: code ?? (signal ? 1 : 0), output }))
  })
}

export function hiddenKind(path: string): 'home' | 'temporary' | undefined {
  if (/^\/(?:home|root|run\/user)\//.test(path)) return 'home'
  return /^\/(?:tmp|var\/tmp)\//.test(path) ? 'temporary' : undefined
}
