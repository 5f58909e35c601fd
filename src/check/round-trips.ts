/** Counts the round trips of a login, for the report. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { systemCode } from '../errors.ts'
import type { Context } from './context.ts'
import { checkLogin } from './login.ts'
import type { StepLog } from './steps.ts'

/**
 * Logs in once more, through a forwarder in this process that sees each direction change. The count begins after the
 * greeting: a round trip is an answer of the server to something that was sent. It also notes how long each phase took.
 */
export async function checkRoundTrips(context: Context, log: StepLog): Promise<void> {
  const { target } = context
  const { endpoint } = target
  if (endpoint.proxy || target.tunnel) {
    log.fact('round trips', `not counted through a ${endpoint.proxy ? 'forward proxy' : 'tunnel'}`)
    return
  }
  const counter = await startCounter(context.addresses!.dial[0]!, endpoint.dial.port)
  const phases: string[] = []
  const onPhase = (phase: string, milliseconds: number) => void phases.push(`${phase} ${milliseconds.toFixed(1)} ms`)
  const { host, port } = counter
  try {
    const counted = { ...target, endpoint: { ...endpoint, dial: { host, port } }, state: { ...target.state, onPhase } }
    await checkLogin({ ...context, target: counted }, { ...log, fact() {} })
    context.roundTrips = counter.roundTrips()
    log.fact('round trips', `${context.roundTrips} from the greeting to the OK_Packet`)
    log.fact('phases', phases.join(', '))
  } finally {
    counter.close()
  }
}

/** Forwards connections to an address, and counts the answers to what was sent. */
async function startCounter(address: string, port: number) {
  let roundTrips = 0
  let isAsking = false
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const upstream = connect({ host: address, port, noDelay: true })
    client.setNoDelay(true)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      // A connection that ends early fails the login itself.
      socket.on('error', error => socket.destroy(systemCode(error) === '' ? undefined : error))
    }
    client.on('data', () => {
      isAsking = true
    })
    upstream.on('data', () => {
      if (isAsking) roundTrips++
      isAsking = false
    })
    client.pipe(upstream).pipe(client)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    roundTrips: () => roundTrips,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
