/** The tunnel of an endpoint, put together from its options. */
import type { Socket } from 'node:net'
import type { CredentialsProvider } from '../aws/credential-types.ts'
import { apiRegion, type Endpoint } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { OPTION_VALUES } from '../option-values.ts'
import { createTunnelState, type EndpointState } from '../state.ts'
import { createCommandTransport } from '../tunnel/command.ts'
import { createSsmTransport } from '../tunnel/ssm.ts'
import { createTunnel, type Tunnel, type TunnelTransport } from '../tunnel/tunnel.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, type Way } from '../upstream/dial.ts'
import type { ProxyOptions } from './options.ts'

/** The tunnel that the options ask for, and its state in `state.tunnel`; undefined if they ask for none. */
export function createTunnelAsSet(
  options: ProxyOptions,
  endpoint: Endpoint,
  state: EndpointState,
  log: Logger,
  credentials: CredentialsProvider,
): (Tunnel & Way) | undefined {
  const transport = transportOf(options, endpoint, log, credentials)
  if (!transport) return undefined
  const idleTimeout = options.tunnelIdleTimeout ?? OPTION_VALUES.tunnelIdleTimeout.default
  state.tunnel = createTunnelState(transport.name, transport.command?.(endpoint.dial), idleTimeout === 0)
  const tunnel = createTunnel({
    transport,
    target: endpoint.dial,
    timeout: options.tunnelTimeout ?? OPTION_VALUES.tunnelTimeout.default,
    idleTimeout,
    state: state.tunnel,
    log,
    discard: connection => void leave(connection, endpoint),
  })
  let isChecking = false
  const recheck = async () => {
    if (isChecking || state.tunnel?.word !== 'open') return
    isChecking = true
    const isDead = await isSilent(tunnel, endpoint)
    isChecking = false
    if (isDead && state.tunnel.word === 'open') tunnel.restart()
  }
  return { ...tunnel, recheck: () => void recheck() }
}

/** A far end that answers does so sooner. */
const RECHECK_MS = 5_000

/**
 * Whether nothing comes through the tunnel. A refusal or a connection that closes comes from the far end, so the tunnel works.
 * A paused Aurora Serverless database is silent too, but has no sessions that a restart could end.
 */
async function isSilent(tunnel: Tunnel, endpoint: Endpoint): Promise<boolean> {
  try {
    const options = { ...endpoint, greetingTimeout: RECHECK_MS }
    const upstream = await dial(options, new AbortController().signal, { tunnel })
    await abandonLogin(upstream)
    upstream.wire.socket.destroySoon()
    return false
  } catch (error) {
    return error instanceof ProxyError && error.cause instanceof ProxyError && error.cause.code === 'UPSTREAM_TIMEOUT'
  }
}

/** What makes the tunnel. */
function transportOf(
  { tunnel, ssmTarget, profile }: ProxyOptions,
  { rds }: Endpoint,
  log: Logger,
  credentials: CredentialsProvider,
): TunnelTransport | undefined {
  if (tunnel !== undefined) return createCommandTransport(tunnel, log)
  if (ssmTarget === undefined) return undefined
  return createSsmTransport({ target: ssmTarget, region: apiRegion(rds), profile, credentials, log })
}

/** Ends a connection that has only shown that the tunnel accepts: with a login to refuse, so that it does not count as an error. */
async function leave(connection: Socket, endpoint: Endpoint): Promise<void> {
  const way: Way = {
    acquire: async () => ({
      address: endpoint.dial,
      connection,
      explain: async error => error,
      lost: async () => undefined,
      release: () => {},
    }),
    isStarting: () => false,
  }
  try {
    const upstream = await dial(endpoint, new AbortController().signal, { tunnel: way })
    await abandonLogin(upstream)
    upstream.wire.socket.destroySoon()
  } catch {
    // The far end has not greeted. The next login finds out why.
    connection.destroy()
  }
}
