/**
 * The reliable stream of Session Manager's data channel, without sockets: sequence numbers, acknowledgements, messages sent
 * again, messages out of order, and the handshake with the SSM agent. It outlives its WebSocket: messages that are not
 * acknowledged go through the next one.
 * https://github.com/aws/session-manager-plugin/blob/mainline/src/datachannel/streaming.go
 */
import { randomUUID } from 'node:crypto'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import {
  acknowledgedSequence,
  acknowledgementOf,
  decodeSsmMessage,
  encodeSsmMessage,
  FLAGS,
  jsonOf,
  MalformedSsmMessage,
  MESSAGE_TYPES,
  PAYLOAD_TYPES,
  type SsmMessage,
} from './ssm-message.ts'

/**
 * The version of the plugin whose behavior this is. The agent multiplexes connections from 1.1.70 on, and sends no keepalives
 * of smux, which would defeat the idle timeout of sessions, from 1.2.331.0 on.
 */
export const CLIENT_VERSION = '1.2.677.0'

/** The first agents that forward to other hosts. https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-sessions-start.html */
export const MIN_AGENT_VERSION = '3.1.1374.0'

/** The agent and the plugin send no larger payloads. */
export const MAX_PAYLOAD_BYTES = 1024

/** Messages that may wait for their acknowledgement, 256 KiB. The plugin sends one message per millisecond at most; this is a burst of it. */
export const MAX_UNACKNOWLEDGED = 256

/** Messages that arrived too early. Others come again. */
export const MAX_EARLY = 10_000

/** As the agent and the plugin: they adapt to the round-trip time as TCP does (RFC 6298). */
export const FIRST_RESEND_MS = 200
export const MAX_RESEND_MS = 1_000
/** Messages that are sent again at once. */
export const MAX_RESEND_BURST = 64

const FIRST_ROUND_TRIP_MS = 100
const MIN_VARIATION_MS = 10

/** Without an acknowledgement for so long, although messages are sent again and again, the agent is gone. */
export const GIVE_UP_MS = 60_000

export interface SsmChannelEvents {
  /** the handshake is complete: data can be sent */
  onReady(): void
  /** data from the agent, in order */
  onData(bytes: Buffer): void
  /** the agent could not connect to the host and port */
  onConnectError(): void
  /** fewer messages wait than `isFull` says */
  onDrain(): void
  /** it has ended for good */
  onEnd(error: ProxyError): void
  /** something for the log */
  onNote(message: string): void
}

export interface SsmChannel {
  /** The agent's version, from the handshake; '' before. */
  readonly agentVersion: string
  /** whether the writer should wait for onDrain */
  readonly isFull: boolean
  /** A WebSocket is open; `send` sends a message through it. What is not acknowledged goes through it again. */
  attach(send: (message: Buffer) => void): void
  /** The WebSocket has closed. */
  detach(): void
  /** A message came through the WebSocket. */
  receive(bytes: Buffer): void
  /** Sends data to the agent, now or when it is possible. */
  write(bytes: Buffer): void
  /** Asks the agent to end the session. */
  terminate(): void
  /** Ends all timers. */
  stop(): void
}

interface Sent {
  message: Buffer
  firstSentAt: number
  sentAt: number
}

export function createSsmChannel(events: SsmChannelEvents, clock: Clock = monotonicClock): SsmChannel {
  let send: ((message: Buffer) => void) | undefined
  let isReady = false
  let isStopped = false
  /** the service tells when the agent is not connected */
  let isPaused = false
  let agentVersion = ''
  let nextSequence = 0
  let expected = 0
  /** data without a message: pieces, and how many bytes they have */
  let pieces: Buffer[] = []
  let pendingBytes = 0
  const unacknowledged = new Map<number, Sent>()
  const early = new Map<number, SsmMessage>()
  let roundTrip = FIRST_ROUND_TRIP_MS
  let variation = 0
  let resendAfter = FIRST_RESEND_MS
  let lastProgressAt = clock.now()
  let lastResendAt = clock.now()
  let burst = 1
  let cancelResend: (() => void) | undefined

  const isFull = () => unacknowledged.size >= MAX_UNACKNOWLEDGED || pendingBytes > 0

  const end = (error: ProxyError) => {
    if (isStopped) return
    stop()
    events.onEnd(error)
  }

  const stop = () => {
    isStopped = true
    send = undefined
    cancelResend?.()
    cancelResend = undefined
  }

  const sendStream = (payloadType: number, payload: Buffer) => {
    const sequence = nextSequence++
    const createdAt = Date.now()
    const message = encodeSsmMessage({
      type: MESSAGE_TYPES.input,
      createdAt,
      sequence,
      flags: 0n,
      id: randomUUID(),
      payloadType,
      payload,
    })
    const now = clock.now()
    if (unacknowledged.size === 0) lastProgressAt = now
    unacknowledged.set(sequence, { message, firstSentAt: now, sentAt: now })
    if (send && !isPaused) send(message)
    scheduleResend()
  }

  /** Makes messages from the data that waits, as many as may be under way. */
  const flush = () => {
    if (!isReady || isStopped || pendingBytes === 0) return
    let rest = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
    while (rest.length > 0 && unacknowledged.size < MAX_UNACKNOWLEDGED) {
      sendStream(PAYLOAD_TYPES.data, rest.subarray(0, MAX_PAYLOAD_BYTES))
      rest = rest.subarray(MAX_PAYLOAD_BYTES)
    }
    pieces = rest.length === 0 ? [] : [rest]
    pendingBytes = rest.length
  }

  const scheduleResend = () => {
    if (cancelResend || isStopped || !send || isPaused) return
    const [oldest] = unacknowledged.values()
    if (!oldest) return
    // Whole milliseconds, so that rounding never makes it too early.
    cancelResend = clock.after(Math.max(1, Math.ceil(oldest.sentAt + resendAfter - clock.now())), resend)
  }

  /**
   * Sends messages again whose time is over, the oldest first. One at first, so that a slow agent gets no flood; twice as many
   * after each acknowledgement, so that the loss of many does not take long.
   */
  const resend = () => {
    cancelResend = undefined
    if (!send || isPaused) return
    const now = clock.now()
    if (now - lastProgressAt >= GIVE_UP_MS) {
      end(new ProxyError('TUNNEL_LOST', `the SSM agent acknowledged nothing for ${GIVE_UP_MS / 1_000} s`))
      return
    }
    burst = lastProgressAt > lastResendAt ? Math.min(burst * 2, MAX_RESEND_BURST) : 1
    let count = 0
    for (const sent of unacknowledged.values()) {
      if (count === burst || now - sent.sentAt < resendAfter) break
      sent.sentAt = now
      send(sent.message)
      count++
    }
    if (count > 0) lastResendAt = now
    scheduleResend()
  }

  /** Sends all again: those who are connected now may have got none of them. */
  const resendAll = () => {
    const now = clock.now()
    lastProgressAt = now
    for (const sent of unacknowledged.values()) {
      sent.sentAt = now
      send?.(sent.message)
    }
    scheduleResend()
  }

  const acknowledged = (sequence: number) => {
    const sent = unacknowledged.get(sequence)
    if (!sent) return
    const wasFull = isFull()
    unacknowledged.delete(sequence)
    const now = clock.now()
    lastProgressAt = now
    // From the first time it was sent: with a slow network, each message is sent more than once, and must still count.
    const sample = now - sent.firstSentAt
    variation = 0.75 * variation + 0.25 * Math.abs(roundTrip - sample)
    roundTrip = 0.875 * roundTrip + 0.125 * sample
    resendAfter = Math.min(roundTrip + Math.max(MIN_VARIATION_MS, 4 * variation), MAX_RESEND_MS)
    flush()
    // The next one may be late already.
    cancelResend?.()
    cancelResend = undefined
    scheduleResend()
    if (wasFull && !isFull()) events.onDrain()
  }

  const acknowledge = (message: SsmMessage) => {
    send?.(encodeSsmMessage(acknowledgementOf(message, randomUUID(), Date.now())))
  }

  const onStreamMessage = (message: SsmMessage) => {
    if (message.sequence > expected) {
      if (early.size >= MAX_EARLY) return
      early.set(message.sequence, message)
    }
    // Also what came before: its acknowledgement was lost.
    acknowledge(message)
    if (message.sequence !== expected) return
    let next: SsmMessage | undefined = message
    while (next && !isStopped) {
      early.delete(expected)
      expected++
      handle(next)
      next = early.get(expected)
    }
  }

  const handle = ({ payloadType, payload }: SsmMessage) => {
    if (payloadType === PAYLOAD_TYPES.data) {
      if (isReady) events.onData(payload)
    } else if (payloadType === PAYLOAD_TYPES.flag) {
      if (payload.length === 4 && payload.readUInt32BE(0) === FLAGS.connectToPortError) events.onConnectError()
    } else if (payloadType === PAYLOAD_TYPES.handshakeRequest) {
      answerHandshake(payload)
    } else if (payloadType === PAYLOAD_TYPES.handshakeComplete) {
      const { CustomerMessage: words } = jsonOf(payload)
      if (typeof words === 'string' && words !== '') events.onNote(words)
      isReady = true
      events.onReady()
      flush()
    }
  }

  const answerHandshake = (payload: Buffer) => {
    const request = jsonOf(payload)
    agentVersion = String(request['AgentVersion'] ?? '')
    const actions = Array.isArray(request['RequestedClientActions']) ? request['RequestedClientActions'] : []
    const results = actions.map(action => ({ action, problem: problemOf(action) }))
    if (isOlder(agentVersion, MIN_AGENT_VERSION)) {
      results.push({
        action: undefined,
        problem: `version ${agentVersion} of the SSM agent cannot forward to other hosts`,
      })
    }
    const problem = results.find(result => result.problem !== undefined)?.problem
    const response = {
      ClientVersion: CLIENT_VERSION,
      ProcessedClientActions: results
        .filter(({ action }) => action !== undefined)
        .map(result => ({
          ActionType: result.action?.ActionType,
          // 1: success, 2: failed
          ActionStatus: result.problem === undefined ? 1 : 2,
          ActionResult: null,
          Error: result.problem ?? '',
        })),
      Errors: problem === undefined ? null : [problem],
    }
    sendStream(PAYLOAD_TYPES.handshakeResponse, Buffer.from(JSON.stringify(response)))
    if (problem === undefined) return
    const isOld = problem.startsWith('version ')
    const hint = isOld ? `Update the SSM agent of the target to ${MIN_AGENT_VERSION} or newer.` : undefined
    end(new ProxyError('SSM_UNSUPPORTED', problem, { hint }))
  }

  const closed = (payload: Buffer) => {
    const { Output: words } = jsonOf(payload)
    const why = typeof words === 'string' && words !== '' ? `: ${printable(words)}` : ''
    end(new ProxyError('TUNNEL_LOST', `Session Manager closed the session${why}`))
  }

  return {
    get agentVersion() {
      return agentVersion
    },
    get isFull() {
      return isFull()
    },
    attach(through) {
      if (isStopped) return
      send = through
      isPaused = false
      resendAll()
    },
    detach() {
      send = undefined
      cancelResend?.()
      cancelResend = undefined
    },
    receive(bytes) {
      if (isStopped) return
      try {
        const message = decodeSsmMessage(bytes)
        if (message.type === MESSAGE_TYPES.pausePublication) {
          isPaused = true
          return
        }
        // Anything else shows that the agent is connected.
        const wasPaused = isPaused
        isPaused = false
        if (message.type === MESSAGE_TYPES.output) onStreamMessage(message)
        else if (message.type === MESSAGE_TYPES.acknowledge) acknowledged(acknowledgedSequence(message))
        else if (message.type === MESSAGE_TYPES.channelClosed) closed(message.payload)
        if (wasPaused && !isStopped) resendAll()
      } catch (error) {
        // It is not acknowledged, so it comes again.
        if (!(error instanceof MalformedSsmMessage)) throw error
        events.onNote(`a malformed message came through the data channel: ${error.message}`)
      }
    },
    write(bytes) {
      if (isStopped || bytes.length === 0) return
      pieces.push(bytes)
      pendingBytes += bytes.length
      flush()
    },
    terminate() {
      if (isStopped || !isReady) return
      const flag = Buffer.alloc(4)
      flag.writeUInt32BE(FLAGS.terminateSession)
      sendStream(PAYLOAD_TYPES.flag, flag)
    },
    stop,
  }
}

/** Why the client cannot do what the agent asks for; undefined if it can. */
function problemOf(action: { ActionType?: unknown; ActionParameters?: Record<string, unknown> }): string | undefined {
  if (action?.ActionType === 'KMSEncryption') {
    return 'the session needs encryption with a KMS key, which only the Session Manager plugin can do'
  }
  if (action?.ActionType !== 'SessionType') return `the SSM agent asks for ${printable(String(action?.ActionType))}`
  const { SessionType: type, Properties: properties } = action.ActionParameters ?? {}
  const forwarding = (properties as { type?: unknown } | undefined)?.type
  if (type === 'Port' && forwarding === 'LocalPortForwarding') return undefined
  return `the session document starts a session of the type ${printable(`${type} ${forwarding ?? ''}`)}, not port forwarding`
}

/** Text from the service or the agent, for a message. */
function printable(text: string): string {
  return text
    .replace(/[^ -~]+/g, ' ')
    .trim()
    .slice(0, 200)
}

/** Whether a version such as `3.1.1374.0` is older than another; false for an unreadable version. */
export function isOlder(version: string, than: string): boolean {
  const [left, right] = [version, than].map(text => text.trim().split('.').map(Number)) as [number[], number[]]
  if (left.some(Number.isNaN) || version.trim() === '') return false
  for (let part = 0; part < Math.max(left.length, right.length); part++) {
    const difference = (left[part] ?? 0) - (right[part] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
