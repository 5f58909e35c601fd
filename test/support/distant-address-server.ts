/** Forwards connections of one address to the server. test/support/distant-address.ts starts it in its namespace. */
import { connect, createServer } from 'node:net'

export interface ForwarderTask {
  address: string
  port: number
  server: { host: string; port: number }
}

process.on('message', ({ address, port, server }: ForwarderTask) => {
  // A reset can be lost on the way. Load balancers end such a connection later; keepalive does it here, sooner.
  const options = { noDelay: true, allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: 6_000 }
  createServer(options, client => {
    const upstream = connect({ ...server, noDelay: true, allowHalfOpen: true })
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    client.pipe(upstream).pipe(client)
  }).listen(port, address, () => process.send?.('listening'))
})
process.on('disconnect', () => process.exit())
process.send?.('started')
