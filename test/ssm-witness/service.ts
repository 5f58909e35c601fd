/**
 * A stand-in for Session Manager: StartSession, ResumeSession and TerminateSession, the agent's CreateDataChannel, and the
 * relay that joins the data channels of a client and an SSM agent. It can lose, repeat and reorder messages, and cut connections.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { decodeSsmMessage, encodeSsmMessage, MESSAGE_TYPES } from '../../src/tunnel/ssm-message.ts'

export interface RelayedSession {
  id: string
  /** the id of the client that opened the data channel, for CreateDataChannel */
  clientId: string
  target: string
  host: string
  port: string
  /** `0`: the plugin chooses one */
  localPort: string
  token: string
  client: WebSocket | undefined
  agent: WebSocket | undefined
}

/** What happens to a message on its way. */
export type Fate = 'deliver' | 'lose' | 'repeat' | 'delay'

export interface SsmServiceOptions {
  /** PEM, of `localhost` */
  cert: string
  key: string
  /** brings an agent for a new session */
  startAgent(session: RelayedSession, service: SsmService): void
  /** the error of StartSession; undefined: it succeeds */
  refusal?: () => { name: string; message: string; status?: number } | undefined
}

export interface SsmService {
  /** host:port */
  address: string
  /** for AWS_ENDPOINT_URL_SSM */
  url: string
  sessions: Map<string, RelayedSession>
  /** the calls so far, such as `StartSession` */
  calls: string[]
  /** every token that clients got */
  tokens: string[]
  /** the headers of the WebSockets of clients */
  clientHeaders: IncomingMessage['headers'][]
  /** their paths with the query */
  clientUrls: string[]
  /** the first message of each WebSocket of a client */
  clientInputs: Record<string, string>[]
  /** every message that was relayed, before its fate */
  relayed: { from: 'client' | 'agent'; message: Buffer }[]
  /** answers that differ from AWS's */
  answers: {
    /** of StartSession */
    start?: object | undefined
    /** the HTTP status of WebSockets */
    webSocket?: number | undefined
    /** added to StreamUrl */
    query?: string
  }
  fate: (from: 'client' | 'agent', message: Buffer) => Fate
  /** Ends a session as the service does, with a word for the client. */
  closeSession(session: RelayedSession, output: string): void
  close(): void
}

export async function startSsmService(options: SsmServiceOptions): Promise<SsmService> {
  const sessions = new Map<string, RelayedSession>()
  const server = createServer({ cert: options.cert, key: options.key }, (request, response) => {
    answer(request, response).catch(error => {
      response.statusCode = 500
      response.end(String(error))
    })
  })
  const webSockets = new WebSocketServer({
    server,
    verifyClient: (_info, done) => {
      const status = service.answers.webSocket
      done(status === undefined, status)
    },
  })
  server.listen(0, 'localhost')
  await once(server, 'listening')
  const address = `localhost:${(server.address() as AddressInfo).port}`

  const service: SsmService = {
    address,
    url: `https://${address}`,
    sessions,
    calls: [],
    tokens: [],
    clientHeaders: [],
    clientUrls: [],
    clientInputs: [],
    relayed: [],
    answers: {},
    fate: () => 'deliver',
    closeSession(session, output) {
      const closed = { MessageId: randomUUID(), SessionId: session.id, MessageType: 'channel_closed', Output: output }
      const message = control(MESSAGE_TYPES.channelClosed, Buffer.from(JSON.stringify({ SchemaVersion: 1, ...closed })))
      session.client?.send(message)
      session.agent?.send(message)
      sessions.delete(session.id)
    },
    close() {
      for (const socket of webSockets.clients) socket.terminate()
      webSockets.close()
      server.close()
      server.closeAllConnections()
    },
  }

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const channel = /^\/v1\/data-channel\/([^/?]+)/.exec(request.url ?? '')
    if (channel) {
      service.calls.push('CreateDataChannel')
      response.statusCode = 201
      response.setHeader('content-type', 'text/xml')
      response.end(
        '<CreateDataChannelResponse><MessageSchemaVersion>1.0</MessageSchemaVersion>' +
          `<TokenValue>agent-${channel[1]}</TokenValue></CreateDataChannelResponse>`,
      )
      return
    }
    const action = String(request.headers['x-amz-target']).replace(/^AmazonSSM\./, '')
    service.calls.push(action)
    const reply = (status: number, value: object) => {
      response.statusCode = status
      response.setHeader('content-type', 'application/x-amz-json-1.1')
      response.end(JSON.stringify(value))
    }
    const refused = action === 'StartSession' ? options.refusal?.() : undefined
    if (refused) {
      reply(refused.status ?? 400, { __type: refused.name, message: refused.message })
      return
    }
    const input = JSON.parse(body) as Record<string, unknown>
    if (action === 'StartSession') {
      const { Target, Parameters } = input as { Target: string; Parameters: Record<string, string[]> }
      const id = `someone-${randomUUID().replaceAll('-', '').slice(0, 17)}`
      const [host, port] = [Parameters['host']?.[0] ?? '', Parameters['portNumber']?.[0] ?? '']
      const peers = { clientId: '', client: undefined, agent: undefined }
      const localPort = Parameters['localPortNumber']?.[0] ?? '0'
      const session: RelayedSession = { id, target: Target, host, port, localPort, token: randomUUID(), ...peers }
      sessions.set(id, session)
      const { token } = session
      service.tokens.push(token)
      options.startAgent(session, service)
      reply(200, service.answers.start ?? { SessionId: id, TokenValue: token, StreamUrl: streamUrl(id) })
      return
    }
    const session = sessions.get(String(input['SessionId']))
    if (action === 'TerminateSession') {
      if (session) service.closeSession(session, '')
      reply(200, { SessionId: input['SessionId'] })
    } else if (!session) {
      reply(200, { SessionId: input['SessionId'] })
    } else {
      session.token = randomUUID()
      service.tokens.push(session.token)
      reply(200, { SessionId: session.id, TokenValue: session.token, StreamUrl: streamUrl(session.id) })
    }
  }

  const streamUrl = (id: string) =>
    `wss://${address}/v1/data-channel/${id}?role=publish_subscribe&cell-number=AAEL${service.answers.query ?? ''}`

  webSockets.on('connection', (socket, request) => {
    const id = /^\/v1\/data-channel\/([^/?]+)/.exec(request.url ?? '')?.[1] ?? ''
    const session = sessions.get(id)
    if (!session) {
      socket.close()
      return
    }
    socket.on('error', () => {})
    socket.once('message', (data: RawData) => {
      const input = JSON.parse(String(data)) as Record<string, string>
      const isAgent = 'ClientInstanceId' in input
      if (!isAgent) {
        service.clientInputs.push(input)
        service.clientHeaders.push(request.headers)
        service.clientUrls.push(request.url ?? '')
        // A token opens one data channel.
        if (input['TokenValue'] !== session.token) {
          socket.close()
          return
        }
        session.token = ''
      }
      join(session, socket, isAgent ? 'agent' : 'client')
    })
  })

  const join = (session: RelayedSession, socket: WebSocket, from: 'client' | 'agent') => {
    const to = from === 'client' ? 'agent' : 'client'
    session[from] = socket
    const told = (side: 'client' | 'agent', type: string) => session[side]?.send(control(type, Buffer.alloc(0)))
    if (session[to]) {
      told(to, MESSAGE_TYPES.startPublication)
      told(from, MESSAGE_TYPES.startPublication)
    } else {
      told(from, MESSAGE_TYPES.pausePublication)
    }
    let delayed: Buffer | undefined
    socket.on('message', (data: Buffer) => {
      service.relayed.push({ from, message: data })
      const peer = session[to]
      const { type } = decodeSsmMessage(data)
      // The service itself reads this one.
      if (!peer || type === 'agent_session_state') return
      const fate = service.fate(from, data)
      if (fate === 'lose') return
      if (fate === 'delay' && !delayed) {
        delayed = data
        return
      }
      peer.send(data)
      if (fate === 'repeat') peer.send(data)
      if (delayed) peer.send(delayed)
      delayed = undefined
    })
    socket.on('close', () => {
      if (session[from] !== socket) return
      session[from] = undefined
      told(to, MESSAGE_TYPES.pausePublication)
    })
  }

  return service
}

function control(type: string, payload: Buffer): Buffer {
  return encodeSsmMessage({
    type,
    createdAt: Date.now(),
    sequence: 0,
    flags: 0n,
    id: randomUUID(),
    payloadType: 0,
    payload,
  })
}
