/** A tunnel that a program makes, such as ssh -L: its processes, from start to end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { basename } from 'node:path'
import { redact } from '../aws/redact.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import type { HostPort } from '../endpoint.ts'
import { asProxyError, ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { killTree } from '../process-tree.ts'
import { fillCommand, fillText, splitCommand } from '../tunnel-command.ts'
import { firstConnection, freeAddress } from './local-port.ts'
import type { OpenTunnel, TunnelTransport } from './tunnel.ts'
import { createWords, type Words } from './words.ts'

/** Between SIGTERM and SIGKILL. The script below has the same time, in seconds. */
const TERM_MS = 2_000

/** Time for the last words of a program that has ended. */
const LAST_WORDS_MS = 300

/** A line explains the end of the program only if it is not older. */
const RECENT_MS = 10_000

/** In a command that is shown: the real port is another one each time. */
const SHOWN_PORT = 13306

const SHELL = '/bin/sh'

/**
 * Runs the program as the child of a shell that outlives the proxy by a moment: descriptor 3 is a pipe from the proxy. Where
 * the proxy dies, also by SIGKILL, the pipe closes, and the whole process group gets SIGTERM, then SIGKILL. The words of
 * the command are its arguments, so the shell interprets none of them.
 */
const SCRIPT = `
trap : TERM INT HUP
trap 'orphan=1' USR1
orphan=
"$@" 3<&- &
child=$!
{
  trap '' TERM INT HUP USR1
  read -r _ <&3
  kill -USR1 $$; kill -TERM 0; sleep 2; kill -KILL 0
} >/dev/null 2>&1 &
watch=$!
exec 3<&- >/dev/null 2>&1
while :; do wait "$child"; code=$?; kill -0 "$child" 2>/dev/null || break; done
while [ "$orphan" ] && kill -0 "$watch" 2>/dev/null; do wait "$watch"; done
kill -KILL "$watch" 2>/dev/null; wait "$watch" 2>/dev/null
exit "$code"
`

/** In error messages of the shell. */
const SHELL_NAME = 'sh'

/** Our own settings may contain passwords, and the sockets of systemd are for the proxy. */
const NOT_PASSED_ON = /^(?:MYSQL_IAM_PROXY_|LISTEN_|NOTIFY_SOCKET$)/

/** A process that has started, or has failed to. */
interface Running {
  child: ChildProcess
  words: Words
  /** aborts when the program has ended; its reason is the error */
  ended: AbortSignal
  /** resolves when nothing of it is left */
  gone: Promise<void>
  end(): void
}

/**
 * The command of the option tunnel.
 * @param shell runs the program; undefined: it runs without one, as on Windows. Then it may outlive a proxy that is killed
 */
export function createCommandTransport(
  command: string,
  log: Logger,
  clock: Clock = monotonicClock,
  shell = existsSync(SHELL) ? SHELL : undefined,
): TunnelTransport {
  const name = `the tunnel command ${basename(splitCommand(command)[0] ?? '')}`
  return {
    name,
    command: target => redact(fillText(command, target, SHOWN_PORT)),
    async open(target, stop) {
      stop.throwIfAborted()
      const address = await freeAddress()
      const words = fillCommand(command, target, address.port)
      return await openProgram({ name, words, address }, stop, log, clock, shell)
    },
  }
}

/** A program that listens on `address`. */
export interface TunnelProgram {
  /** the subject of a sentence in errors */
  name: string
  /** the program and its arguments */
  words: string[]
  address: HostPort
  /** variables besides those of the proxy */
  environment?: Record<string, string>
}

/** Runs a program until it ends or is closed. Resolves when its port accepts. @throws ProxyError TUNNEL_…; the reason of `stop` */
export async function openProgram(
  program: TunnelProgram,
  stop: AbortSignal,
  log: Logger,
  clock: Clock = monotonicClock,
  shell = existsSync(SHELL) ? SHELL : undefined,
): Promise<OpenTunnel> {
  const started = clock.now()
  const running = run(program, shell, log, clock)
  try {
    const first = await firstConnection(program.address, AbortSignal.any([stop, running.ended]), clock)
    return opened(program.address, first, running)
  } catch {
    running.end()
    await running.gone
    throw stop.aborted ? withWords(asProxyError(stop.reason), running.words.last(started)) : running.ended.reason
  }
}

function opened(
  address: HostPort,
  first: Pick<OpenTunnel, 'connection' | 'connectionSince'>,
  running: Running,
): OpenTunnel {
  let isClosing = false
  const { ended, gone, words } = running
  return {
    address,
    ...first,
    ended: gone.then(() => (isClosing ? undefined : new ProxyError('TUNNEL_LOST', (ended.reason as Error).message))),
    wordsSince: moment => words.lastSoon(moment),
    async close() {
      isClosing = true
      running.end()
      await gone
    },
  }
}

function run(program: TunnelProgram, shell: string | undefined, log: Logger, clock: Clock): Running {
  const { name, words, environment } = program
  const said = createWords(log, clock)
  const started = clock.now()
  const [file, args] = shell ? [shell, ['-c', SCRIPT, SHELL_NAME, ...words]] : [words[0]!, words.slice(1)]
  const child = spawn(file, args, {
    // No terminal and no input: nobody can answer a question.
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    // A process group, so that Ctrl-C does not end the tunnel before the transactions of its sessions.
    detached: process.platform !== 'win32',
    windowsHide: true,
    env: {
      ...Object.fromEntries(Object.entries(process.env).filter(([variable]) => !NOT_PASSED_ON.test(variable))),
      ...environment,
    },
  })
  child.stdout?.on('data', chunk => said.write('stdout', chunk))
  child.stderr?.on('data', chunk => said.write('stderr', chunk))
  for (const stream of child.stdio) stream?.on('error', () => {})
  const ended = new AbortController()
  const gone = exitOf(child, clock).then(({ code, signal, cause }) => {
    sweep(child, 'SIGKILL')
    const since = Math.max(started, clock.now() - RECENT_MS)
    ended.abort(endError(name, code, signal, cause, said.last(since)))
  })
  let cancelTimer = () => {}
  void gone.then(() => cancelTimer())
  return {
    child,
    words: said,
    ended: ended.signal,
    gone,
    end() {
      if (ended.signal.aborted) return
      sweep(child, 'SIGTERM')
      cancelTimer()
      cancelTimer = clock.after(TERM_MS, () => sweep(child, 'SIGKILL'))
    },
  }
}

interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  /** if it could not start */
  cause: unknown
}

/** Resolves when the program has ended and its last words are there. A process that it left behind may keep the pipes open. */
function exitOf(child: ChildProcess, clock: Clock): Promise<Exit> {
  return new Promise(resolve => {
    child.once('error', cause => {
      if (child.pid === undefined) resolve({ code: null, signal: null, cause })
    })
    child.once('exit', (code, signal) => {
      const done = () => {
        cancelTimer()
        resolve({ code, signal, cause: undefined })
      }
      const cancelTimer = clock.after(LAST_WORDS_MS, done)
      child.once('close', done)
    })
  })
}

/** Sends a signal to the whole process group. Windows has neither, so that the programs are ended at once there. */
function sweep({ pid, exitCode, signalCode }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  if (process.platform === 'win32') {
    if (exitCode === null && signalCode === null) killTree(pid) // otherwise the id may belong to another program
    return
  }
  try {
    process.kill(-pid, signal)
  } catch {
    // Nothing of it is left.
  }
}

/** Exit codes of a shell. https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02 */
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127
const KILLED = 128

function endError(
  name: string,
  code: number | null,
  signal: NodeJS.Signals | null,
  cause: unknown,
  line: string | undefined,
): ProxyError {
  if (cause !== undefined || code === NOT_FOUND || code === NOT_EXECUTABLE) {
    const why =
      cause === undefined ? line?.replace(new RegExp(`^${SHELL_NAME}: (?:line )?\\d+: `), '') : systemCode(cause)
    return new ProxyError('TUNNEL_PROGRAM_MISSING', `${name} cannot be started: ${why || `exit code ${code}`}`, {
      cause,
    })
  }
  const number = code !== null && code > KILLED ? code - KILLED : undefined
  const killer = signal ?? Object.entries(constants.signals).find(([, value]) => value === number)?.[0]
  const how = killer ? `was ended by ${killer}` : `ended with exit code ${code}`
  return withWords(new ProxyError('TUNNEL_FAILED', `${name} ${how}`), line)
}

/** The error with the last line of the program, and what that line says about the way out. */
function withWords(error: ProxyError, line: string | undefined): ProxyError {
  if (line === undefined) return error
  return new ProxyError(error.code, `${error.message}: ${line}`, { hint: hintFrom(line), cause: error.cause })
}

/** What to do about a line that ssh and other programs print; undefined for lines that say it themselves. */
function hintFrom(line: string): string | undefined {
  if (/host key verification failed|authenticity of host/i.test(line)) {
    return 'Connect to that host once by hand and compare its key, or add the key to ~/.ssh/known_hosts.'
  }
  if (/permission denied/i.test(line)) {
    return 'The host refused the login of the tunnel. Load the key with ssh-add or name it with -i, and check the user.'
  }
  if (/(?:password|passphrase|passcode|verification code|\bPIN\b)[^:]*:?$|\(yes\/no/i.test(line)) {
    return 'Nobody can answer the command. With ssh, set -o BatchMode=yes, and use a key in the agent or a file without a passphrase.'
  }
  return undefined
}
