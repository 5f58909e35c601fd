/**
 * The WebSocket of Session Manager's data channel: TLS and forward proxies as for all calls to AWS, the signature, the token,
 * and pings that notice a dead way.
 */
import { once } from 'node:events'
import type { WebSocket } from 'ws'
import type { CredentialsProvider } from '../aws/credential-types.ts'
import type { AwsAgent } from '../aws/https-agent.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { CLIENT_VERSION } from './ssm-channel.ts'
import { newId, type SsmSession } from './ssm-session.ts'
import { signGet } from './ssm-signature.ts'

/** Shorter than what most NAT gateways and proxies wait before they forget a connection. */
export const PING_INTERVAL_MS = 30_000

/** A ping must be answered within this. */
export const PONG_TIMEOUT_MS = 10_000

/** Larger messages do not exist: the agent sends at most 1 KiB of data in one. */
const MAX_MESSAGE_BYTES = 1024 * 1024

export interface SsmWebSocketOptions {
  session: SsmSession
  /** an id of this client, the same for all WebSockets of a session */
  clientId: string
  region: string
  credentials: CredentialsProvider
  agent: AwsAgent
  onMessage(bytes: Buffer): void
  /** It has closed, and nobody called close. */
  onClose(): void
  clock?: Clock
}

export interface SsmWebSocket {
  send(message: Buffer): void
  /** Stops reading, so that the sender has to wait. */
  pause(): void
  resume(): void
  close(): void
}

/** Opens the data channel. @throws ProxyError SSM_…, AWS_UNREACHABLE, FORWARD_PROXY_…; the reason of `stop` */
export async function openSsmWebSocket(options: SsmWebSocketOptions, stop: AbortSignal): Promise<SsmWebSocket> {
  const { session, clientId, agent, onMessage, onClose, clock = monotonicClock } = options
  const { WebSocket } = await import('ws')
  const headers = await signatureFor(options)
  stop.throwIfAborted()
  const socket = new WebSocket(session.streamUrl, {
    agent,
    headers,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    followRedirects: false,
  })
  // 'error' is always followed by 'close'.
  socket.on('error', () => {})
  await opened(socket, agent, stop)
  const input = {
    MessageSchemaVersion: '1.0',
    RequestId: newId(),
    TokenValue: session.token,
    ClientId: clientId,
    ClientVersion: CLIENT_VERSION,
  }
  socket.send(JSON.stringify(input))
  socket.on('message', (data: Buffer) => onMessage(data))
  const stopPings = startPings(socket, clock)
  let isClosing = false
  socket.once('close', () => {
    stopPings()
    if (!isClosing) onClose()
  })
  return {
    send: message => socket.send(message, { binary: true }),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close() {
      isClosing = true
      stopPings()
      // What was sent goes out first. A peer that does not answer is not waited for.
      socket.close()
      clock.after(1_000, () => socket.terminate())
    },
  }
}

async function opened(socket: WebSocket, agent: AwsAgent, stop: AbortSignal): Promise<void> {
  const refused = new Promise<never>((_resolve, reject) => {
    socket.once('unexpected-response', (_request, response) => {
      response.resume()
      reject(refusal(response.statusCode ?? 0))
    })
  })
  refused.catch(() => {})
  try {
    await Promise.race([once(socket, 'open', { signal: stop }), refused])
  } catch (error) {
    socket.terminate()
    stop.throwIfAborted()
    if (error instanceof ProxyError) throw error
    if (agent.problem) throw agent.problem
    const { host } = new URL(socket.url)
    const what = `no connection to ${host}: ${systemCode(error) || 'the WebSocket failed'}`
    throw new ProxyError('AWS_UNREACHABLE', what, {
      cause: error,
      hintValues: { action: 'ssmmessages:OpenDataChannel' },
    })
  }
}

function refusal(status: number): ProxyError {
  const what = `Session Manager refuses the data channel: HTTP status ${status}`
  return new ProxyError(status === 403 || status === 401 ? 'SSM_ACCESS_DENIED' : 'AWS_UNREACHABLE', what, {
    hintValues: { action: 'ssmmessages:OpenDataChannel' },
  })
}

/** As the plugin: a URL that has a signature needs no other. */
async function signatureFor(options: SsmWebSocketOptions): Promise<Record<string, string>> {
  const url = new URL(options.session.streamUrl)
  if ([...url.searchParams.keys()].some(name => /^X-Amz-/i.test(name))) return {}
  const credentials = await options.credentials()
  return signGet({ url, region: options.region, service: 'ssmmessages', credentials, date: new Date() })
}

function startPings(socket: WebSocket, clock: Clock): () => void {
  let isAnswered = true
  let cancel = () => {}
  const ping = () => {
    isAnswered = false
    socket.ping()
    cancel = clock.after(PONG_TIMEOUT_MS, () => {
      if (!isAnswered && !socket.isPaused) socket.terminate()
      else cancel = clock.after(PING_INTERVAL_MS - PONG_TIMEOUT_MS, ping)
    })
  }
  socket.on('pong', () => {
    isAnswered = true
  })
  cancel = clock.after(PING_INTERVAL_MS, ping)
  return () => cancel()
}
