/** Addresses behind a virtual cable that can be cut, so that packets vanish. Linux with network namespaces. */
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { HostPort } from '../../src/endpoint.ts'
import type { ForwarderTask } from './distant-address-server.ts'
import { env } from './packages.ts'

/** `unshare` with its options, or why this user cannot make namespaces. */
export function namespaceCommand(): { command: string[] } | { unavailable: string } {
  for (const options of [['--net'], ['--user', '--map-root-user', '--net']]) {
    const tried = spawnSync('unshare', [...options, 'ip', 'link', 'set', 'lo', 'up'], { env })
    if (tried.status === 0) return { command: ['unshare', ...options] }
  }
  return { unavailable: 'this user cannot make network namespaces, or the program ip is missing' }
}

/** An address that forwards to a server of this namespace. */
export interface DistantAddress extends HostPort {
  /** packets vanish in both directions */
  cut(): void
  heal(): void
  /** Connections to it come from another local address. Call the result to remove that address. */
  moveSource(): () => void
  /** that other address */
  source: string
  stop(): void
}

/**
 * Starts an address in a separate namespace. Call it only in a namespace of the test, which ends with it.
 * @param number from 1 to 250, another one for each address
 * @param server its port; it must listen on all addresses of this namespace
 */
export async function startDistantAddress(number: number, server: number): Promise<DistantAddress> {
  const net = `10.78.${number}`
  const host = `${net}.10`
  const source = `${net}.5`
  const port = 3306
  const child = fork(new URL('distant-address-server.ts', import.meta.url), {
    execPath: 'unshare',
    execArgv: ['--net', process.execPath, ...process.execArgv],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env,
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await once(child, 'message')
  const [here, there] = [`here${number}`, `there${number}`]
  const run = (...words: string[]) => execFileSync(words[0]!, words.slice(1), { env })
  const inside = (...words: string[]) => run('nsenter', '-t', String(child.pid), '-n', 'ip', ...words)
  run('ip', 'link', 'add', here, 'type', 'veth', 'peer', 'name', there)
  run('ip', 'link', 'set', there, 'netns', String(child.pid))
  run('ip', 'address', 'add', `${net}.1/24`, 'dev', here)
  run('ip', 'link', 'set', here, 'up')
  inside('address', 'add', `${host}/24`, 'dev', there)
  inside('link', 'set', there, 'up')
  // Each side keeps sending to the hardware address that the other side had. Once that changes, each drops what arrives, and
  // neither kernel learns of it: routes and ARP stay as they are.
  const macs = { here: '02:00:00:00:00:01', there: '02:00:00:00:00:02' }
  const setAddresses = (ofHere: string, ofThere: string) => {
    run('ip', 'link', 'set', here, 'address', ofHere)
    inside('link', 'set', there, 'address', ofThere)
    run('ip', 'neighbour', 'replace', host, 'lladdr', macs.there, 'dev', here, 'nud', 'permanent')
    for (const one of [`${net}.1`, source]) {
      inside('neighbour', 'replace', one, 'lladdr', macs.here, 'dev', there, 'nud', 'permanent')
    }
  }
  const heal = () => setAddresses(macs.here, macs.there)
  heal()
  const task: ForwarderTask = { address: host, port, server: { host: `${net}.1`, port: server } }
  child.send(task)
  await once(child, 'message')
  child.unref()
  child.channel?.unref()
  return {
    host,
    port,
    cut: () => setAddresses('02:00:00:00:00:03', '02:00:00:00:00:04'),
    heal,
    source,
    moveSource() {
      run('ip', 'address', 'add', `${source}/24`, 'dev', here)
      run('ip', 'route', 'replace', `${host}/32`, 'dev', here, 'src', source)
      return () => run('ip', 'address', 'delete', `${source}/24`, 'dev', here)
    },
    stop: () => {
      process.off('exit', kill)
      kill()
    },
  }
}
