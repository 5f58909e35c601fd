/**
 * A stand-in for the SSM agent's side of a port session: handshake, acknowledgements, smux, connections to the host and port.
 * `npm run ssm-witness` holds it against the real plugin, and the client of src/tunnel/ against the real agent.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import { createSmuxParser, encodeSmuxData, encodeSmuxFrame, SMUX_COMMANDS } from '../../src/tunnel/smux.ts'
import {
  acknowledgedSequence,
  acknowledgementOf,
  decodeSsmMessage,
  encodeSsmMessage,
  jsonOf,
  MESSAGE_TYPES,
  PAYLOAD_TYPES,
  type SsmMessage,
} from '../../src/tunnel/ssm-message.ts'
import type { RelayedSession } from './service.ts'

export interface AgentOptions {
  version?: string
  /** what it asks the client for in the handshake, besides port forwarding */
  actions?: object[]
  /** of the session document */
  sessionType?: string
  /** messages without an acknowledgement above which it reads no more; the agent reads at most 1 KiB per millisecond instead */
  window?: number
  /** an endpoint with its certificate authority */
  ca: string
  address: string
}

export interface StandInAgent {
  /** the client's answer to the handshake */
  response: Record<string, unknown> | undefined
  /** the client asked to end the session */
  isTerminated: boolean
  /** Cuts its WebSocket; it opens another one. */
  cut(): void
  /** Sends a payload as the agent does. */
  send(payloadType: number, payload: Buffer): void
}

/** The agent sends one message again each 100 ms, and never two at once. A test has less time. */
const RESEND_MS = 25

export function startStandInAgent(session: RelayedSession, options: AgentOptions): StandInAgent {
  const sockets = new Map<number, Socket>()
  const unacknowledged = new Map<number, Buffer>()
  const early = new Map<number, SsmMessage>()
  const { window = Number.POSITIVE_INFINITY } = options
  const parse = createSmuxParser()
  let [sent, expected] = [0, 0]
  let webSocket: WebSocket | undefined
  let isEnded = false

  const sendRaw = (message: SsmMessage) => webSocket?.send(encodeSsmMessage(message))

  const agent: StandInAgent = {
    response: undefined,
    isTerminated: false,
    cut: () => webSocket?.terminate(),
    send(payloadType, payload) {
      const sequence = sent++
      const flags = sequence === 0 ? 1n : 0n
      const type = MESSAGE_TYPES.output
      const message = { type, createdAt: Date.now(), sequence, flags, id: randomUUID(), payloadType, payload }
      unacknowledged.set(sequence, encodeSsmMessage(message))
      sendRaw(message)
    },
  }

  const sendData = (bytes: Buffer) => {
    for (let start = 0; start < bytes.length; start += 1024) {
      agent.send(PAYLOAD_TYPES.data, bytes.subarray(start, start + 1024))
    }
  }

  const openStream = (id: number) => {
    const socket = connect({ host: session.host, port: Number(session.port), allowHalfOpen: true })
    sockets.set(id, socket)
    let isConnected = false
    let isClosed = false
    const sendClose = () => {
      if (!isClosed) sendData(encodeSmuxFrame(SMUX_COMMANDS.close, id))
      isClosed = true
    }
    socket.on('connect', () => {
      isConnected = true
    })
    socket.on('data', data => {
      for (const frame of encodeSmuxData(id, data)) sendData(frame)
      if (unacknowledged.size > window) socket.pause()
    })
    socket.on('error', () => {
      if (!isConnected) agent.send(PAYLOAD_TYPES.flag, Buffer.from([0, 0, 0, 3]))
    })
    socket.on('end', sendClose)
    socket.on('close', () => {
      sendClose()
      sockets.delete(id)
    })
  }

  const onData = (payload: Buffer) => {
    for (const { command, stream, data } of parse(payload)) {
      if (command === SMUX_COMMANDS.open) openStream(stream)
      else if (command === SMUX_COMMANDS.data) sockets.get(stream)?.write(data)
      else if (command === SMUX_COMMANDS.close) sockets.get(stream)?.end()
    }
  }

  const onInput = ({ payloadType, payload }: SsmMessage) => {
    if (payloadType === PAYLOAD_TYPES.handshakeResponse) {
      agent.response = jsonOf(payload)
      const complete = { HandshakeTimeToComplete: 1_000_000, CustomerMessage: '' }
      agent.send(PAYLOAD_TYPES.handshakeComplete, Buffer.from(JSON.stringify(complete)))
    } else if (payloadType === PAYLOAD_TYPES.data) {
      onData(payload)
    } else if (payloadType === PAYLOAD_TYPES.flag && payload.readUInt32BE(0) === 2) {
      agent.isTerminated = true
      end()
    }
  }

  const receive = (bytes: Buffer) => {
    const message = decodeSsmMessage(bytes)
    if (message.type === MESSAGE_TYPES.acknowledge) {
      unacknowledged.delete(acknowledgedSequence(message))
      if (unacknowledged.size <= window) for (const socket of sockets.values()) socket.resume()
    }
    if (message.type === MESSAGE_TYPES.channelClosed) end()
    if (message.type !== MESSAGE_TYPES.input) return
    sendRaw(acknowledgementOf(message, randomUUID(), Date.now()))
    if (message.sequence >= expected) early.set(message.sequence, message)
    for (let next = early.get(expected); next; next = early.get(expected)) {
      early.delete(expected++)
      onInput(next)
    }
  }

  const end = () => {
    isEnded = true
    clearInterval(resending)
    for (const socket of sockets.values()) socket.destroy()
    webSocket?.close()
  }

  const resending = setInterval(() => {
    const [oldest] = unacknowledged.values()
    if (oldest && webSocket?.readyState === WebSocket.OPEN) webSocket.send(oldest)
  }, RESEND_MS)
  resending.unref()

  const open = async () => {
    const url = `wss://${options.address}/v1/data-channel/${session.id}?role=publish_subscribe`
    const opening = new WebSocket(url, { ca: options.ca })
    opening.on('error', () => {})
    opening.on('close', () => {
      webSocket = undefined
      // The service may be gone.
      if (!isEnded) open().catch(end)
    })
    await once(opening, 'open')
    webSocket = opening
    const input = { MessageSchemaVersion: '1.0', RequestId: randomUUID(), TokenValue: 'agent', ClientId: 'client' }
    opening.send(JSON.stringify({ ...input, ClientInstanceId: session.target }))
    opening.on('message', data => receive(data as Buffer))
  }

  const properties = {
    host: session.host,
    portNumber: session.port,
    localPortNumber: session.localPort,
    type: 'LocalPortForwarding',
  }
  const sessionType = { SessionType: options.sessionType ?? 'Port', Properties: properties }
  const request = {
    AgentVersion: options.version ?? '3.3.1345.0',
    RequestedClientActions: [{ ActionType: 'SessionType', ActionParameters: sessionType }, ...(options.actions ?? [])],
  }
  open().then(
    () => agent.send(PAYLOAD_TYPES.handshakeRequest, Buffer.from(JSON.stringify(request))),
    () => {},
  )
  return agent
}
