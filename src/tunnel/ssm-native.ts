/**
 * A tunnel through Session Manager without the plugin: a local port, whose connections become streams of smux, which go through
 * the data channel to the SSM agent. The agent connects each of them to the database.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { AwsAgent } from '../aws/https-agent.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createSmuxParser, encodeSmuxData, encodeSmuxFrame, MalformedSmux, SMUX_COMMANDS } from './smux.ts'
import { createSsmChannel } from './ssm-channel.ts'
import { newId, type SsmApi, type SsmSession, startSessionInput } from './ssm-session.ts'
import { openSsmWebSocket, type SsmWebSocket } from './ssm-websocket.ts'
import type { OpenTunnel } from './tunnel.ts'

/** Bytes from the agent that local clients have not read. Above, the data channel is not read either: all streams share it. */
const HIGH_WATER_BYTES = 4 * 1024 * 1024

/** Tries to get the data channel back, and the pause before the second one. Each further try doubles it. */
const RECONNECT_TRIES = 5
const RECONNECT_PAUSE_MS = 200

/** Words about a failed connection come before the end of the stream, but through another queue. */
const WORDS_WAIT_MS = 200

export interface NativeOptions {
  api: SsmApi
  agent: AwsAgent
  log: Logger
  clock?: Clock
  /** bytes that local clients may leave unread */
  highWater?: number
}

/** Starts a session to `target` and opens its data channel. @throws ProxyError; the reason of `stop` */
export async function openNativeTunnel(
  target: HostPort,
  stop: AbortSignal,
  options: NativeOptions,
): Promise<OpenTunnel> {
  const session = await options.api.start(startSessionInput(options.api.target, target), stop)
  try {
    return await openSession(session, target, stop, options)
  } catch (error) {
    await options.api.terminate(session)
    throw error
  }
}

async function openSession(
  first: SsmSession,
  target: HostPort,
  stop: AbortSignal,
  { api, agent, log, clock = monotonicClock, highWater = HIGH_WATER_BYTES }: NativeOptions,
): Promise<OpenTunnel> {
  let session = first
  const clientId = newId()
  const ready = deferred<void>()
  const ended = deferred<ProxyError | undefined>()
  let isEnded = false
  let webSocket: SsmWebSocket | undefined
  let server: Server | undefined
  const closing = new AbortController()

  const channel = createSsmChannel(
    {
      onReady: () => ready.resolve(),
      onData: bytes => streams.receive(bytes),
      onConnectError: () => streams.noteConnectError(),
      onDrain: () => streams.resume(),
      onEnd: error => finish(error),
      onNote: message => log.debug({ ssmSession: session.id }, `Session Manager: ${message}`),
    },
    clock,
  )
  const streams = createStreams({
    write: bytes => channel.write(bytes),
    isFull: () => channel.isFull,
    pauseReading: () => webSocket?.pause(),
    resumeReading: () => webSocket?.resume(),
    onMalformed: error => finish(new ProxyError('TUNNEL_LOST', 'the SSM agent sent malformed data', { cause: error })),
    clock,
    highWater,
  })

  /** Ends everything on this machine. */
  const finish = (error: ProxyError | undefined) => {
    if (isEnded) return
    isEnded = true
    closing.abort()
    ready.reject(error ?? new ProxyError('TUNNEL_LOST', 'the session was closed'))
    channel.stop()
    streams.close()
    server?.close()
    webSocket?.close()
    webSocket = undefined
    ended.resolve(error)
  }

  const connect = async (signal: AbortSignal) => {
    const { region, credentials } = api
    const shared = { session, clientId, region, credentials, agent, clock }
    const opened = await openSsmWebSocket(
      {
        ...shared,
        onMessage: bytes => channel.receive(bytes),
        onClose: () => {
          channel.detach()
          webSocket = undefined
          if (!isEnded) void reconnect()
        },
      },
      signal,
    )
    if (isEnded) {
      opened.close()
      return
    }
    webSocket = opened
    if (streams.isOverfull()) opened.pause()
    channel.attach(message => opened.send(message))
  }

  const reconnect = async () => {
    log.debug({ ssmSession: session.id }, 'the data channel of Session Manager was lost; it is opened again')
    let failure: unknown
    for (let attempt = 0; attempt < RECONNECT_TRIES && !isEnded; attempt++) {
      if (attempt > 0) await pause(RECONNECT_PAUSE_MS * 2 ** (attempt - 1), clock, closing.signal)
      try {
        const resumed = await api.resume(session)
        if (!resumed) {
          finish(new ProxyError('TUNNEL_LOST', 'the session has ended at Session Manager'))
          return
        }
        session = resumed
        await connect(closing.signal)
        return
      } catch (error) {
        failure = error
      }
    }
    if (isEnded) return
    const { message } = asProxyError(failure)
    finish(
      new ProxyError('TUNNEL_LOST', `the data channel of Session Manager was lost: ${message}`, { cause: failure }),
    )
  }

  const onStop = () => finish(asProxyError(stop.reason))
  ready.promise.catch(() => {})
  try {
    await connect(stop)
    stop.addEventListener('abort', onStop, { once: true })
    stop.throwIfAborted()
    await ready.promise
    const listening = createServer({ allowHalfOpen: true, noDelay: true }, socket => streams.open(socket))
    server = listening
    // EMFILE: the client's connection fails, and the error has a message of its own there.
    listening.on('error', () => {})
    listening.listen(0, '127.0.0.1')
    await once(listening, 'listening', { signal: stop })
    const { port } = listening.address() as AddressInfo
    log.debug(
      { ssmSession: session.id, agentVersion: channel.agentVersion },
      'the data channel of Session Manager is open',
    )
    return {
      address: { host: '127.0.0.1', port },
      ended: ended.promise,
      wordsSince: async moment => {
        if (!streams.connectErrorSince(moment)) await pause(WORDS_WAIT_MS, clock, closing.signal)
        if (!streams.connectErrorSince(moment)) return undefined
        return `the SSM agent cannot connect to ${formatHostPort(target)}`
      },
      async close() {
        if (!isEnded) channel.terminate()
        const last = session
        finish(undefined)
        await api.terminate(last)
      },
    }
  } catch (error) {
    finish(asProxyError(error))
    throw error
  } finally {
    stop.removeEventListener('abort', onStop)
  }
}

/** As Promise.withResolvers, which Node.js 20 does not have. */
function deferred<Value>() {
  let resolve: (value: Value) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<Value>((onValue, onError) => {
    resolve = onValue
    reject = onError
  })
  return { promise, resolve, reject }
}

/** Waits, until `stop` at most. */
async function pause(milliseconds: number, clock: Clock, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return
  const { promise, resolve } = deferred<void>()
  const cancel = clock.after(milliseconds, () => resolve())
  const onStop = () => resolve()
  stop.addEventListener('abort', onStop)
  await promise
  stop.removeEventListener('abort', onStop)
  cancel()
}

interface StreamsOptions {
  write(bytes: Buffer): void
  isFull(): boolean
  pauseReading(): void
  resumeReading(): void
  onMalformed(error: MalformedSmux): void
  clock: Clock
  highWater: number
}

/** The local connections, each of them a stream of smux. */
function createStreams({ write, isFull, pauseReading, resumeReading, onMalformed, clock, highWater }: StreamsOptions) {
  const sockets = new Map<number, Socket>()
  const parse = createSmuxParser()
  /** those of a client are odd */
  let nextId = 1
  let connectErrorAt: number | undefined
  let isReadingPaused = false

  const unread = () => {
    let bytes = 0
    for (const socket of sockets.values()) bytes += socket.writableLength
    return bytes
  }

  const resumeIfRead = () => {
    if (!isReadingPaused || unread() > highWater / 2) return
    isReadingPaused = false
    resumeReading()
  }

  return {
    open(socket: Socket) {
      nextId += 2
      const id = nextId
      sockets.set(id, socket)
      write(encodeSmuxFrame(SMUX_COMMANDS.open, id))
      let isClosed = false
      const sendClose = () => {
        if (isClosed) return
        isClosed = true
        write(encodeSmuxFrame(SMUX_COMMANDS.close, id))
      }
      socket.on('data', data => {
        for (const frame of encodeSmuxData(id, data)) write(frame)
        if (isFull()) socket.pause()
      })
      // smux cannot close one direction alone. MySQL never does.
      socket.on('end', () => {
        sendClose()
        socket.end()
      })
      socket.on('drain', resumeIfRead)
      socket.on('error', () => {})
      socket.on('close', () => {
        sendClose()
        sockets.delete(id)
        resumeIfRead()
      })
    },
    receive(bytes: Buffer) {
      try {
        for (const { command, stream, data } of parse(bytes)) {
          const socket = sockets.get(stream)
          if (command === SMUX_COMMANDS.data) socket?.write(data)
          else if (command === SMUX_COMMANDS.close) socket?.end()
        }
      } catch (error) {
        if (!(error instanceof MalformedSmux)) throw error
        onMalformed(error)
        return
      }
      if (!isReadingPaused && unread() > highWater) {
        isReadingPaused = true
        pauseReading()
      }
    },
    isOverfull: () => isReadingPaused,
    resume() {
      for (const socket of sockets.values()) socket.resume()
    },
    noteConnectError() {
      connectErrorAt = clock.now()
    },
    connectErrorSince: (moment: number) => connectErrorAt !== undefined && connectErrorAt >= moment,
    close() {
      for (const socket of sockets.values()) socket.destroy()
    },
  }
}
