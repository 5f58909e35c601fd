/** The two processes at an upgrade: the old one starts the new one, and serves its sessions until they end. */
import { within } from '../abort.ts'
import { type Clock, monotonicClock, wait } from '../clock.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Service } from '../service.ts'
import type { OwnCommand } from './own-command.ts'
import type { Predecessor } from './predecessor.ts'
import { type Successor, startSuccessor } from './successor.ts'

/** How often to look whether sessions are left. */
const DRAIN_POLL_MS = 250

/** How long the new process may wait for credentials and CA certificates. The old one serves meanwhile. */
const WARM_UP_MS = 5_000

/** What decides whether a new process can replace this one. */
export interface ProcessPlace {
  platform: NodeJS.Platform
  pid: number
  isTerminal: boolean
}

/** Why no process can replace this one; undefined if one can. */
export function upgradeProblem({ platform, pid, isTerminal }: ProcessPlace): string | undefined {
  if (platform === 'win32') return 'Windows cannot hand a socket to another process; stop the proxy and start it again'
  if (isTerminal) return 'the proxy runs in a terminal; stop it with Ctrl-C and start it again'
  if (pid === 1) return 'a container ends with its first process; replace the container'
  return undefined
}

/** Resolves with the process that serves from now on. @throws ProxyError UPGRADE_FAILED; then this process goes on */
export async function upgrade(own: OwnCommand, end: AbortSignal, log: Logger): Promise<Successor> {
  const { platform, pid, stdout } = process
  const problem = upgradeProblem({ platform, pid, isTerminal: stdout.isTTY })
  if (problem) throw new ProxyError('UPGRADE_FAILED', problem)
  log.info({ file: own.program }, 'upgrade: starting a new process')
  return await startSuccessor(own, process.argv.slice(2), end)
}

export function logUpgradeFailure(thrown: unknown, log: Logger): void {
  const error = asProxyError(thrown)
  log.error({ code: error.code, hint: hintFor(error, {}) }, `upgrade failed, this process goes on: ${error.message}`)
}

/** The new process takes no client before it is as fast as the old one. */
export async function warmUp(service: Pick<Service, 'warmUp'>, clock: Clock = monotonicClock): Promise<void> {
  await within(service.warmUp(), WARM_UP_MS, clock)
}

/** Of all endpoints. */
export function countSessions(service: Service): number {
  return service.states().reduce((sum, state) => sum + state.sessions.size, 0)
}

/**
 * Resolves when the sessions of this process and of its predecessors have ended, or must end: a signal came, or the new process
 * stops or has crashed.
 */
export async function drain(
  successor: Successor,
  predecessor: Predecessor | undefined,
  service: Service,
  end: AbortSignal,
  log: Logger,
): Promise<void> {
  log.info(
    { successor: successor.pid, sessions: countSessions(service) },
    'a new process serves; the sessions of this one go on',
  )
  let isOver = false
  let hasPredecessor = predecessor !== undefined
  void predecessor?.gone.then(() => {
    hasPredecessor = false
  })
  void successor.over.then(why => {
    isOver = true
    if (why === 'it has crashed')
      log.error({ successor: successor.pid }, 'the new process has crashed; this one stops too')
  })
  // It stays for its predecessor: through this process the newest one stops it, and knows of its sessions.
  while (!end.aborted && !isOver && (hasPredecessor || countSessions(service) > 0)) {
    successor.report(countSessions(service) + (predecessor?.sessions() ?? 0))
    await wait(monotonicClock, DRAIN_POLL_MS)
  }
}
