/**
 * One address of the database, in a separate network namespace. It forwards connections to the server.
 * bench/failover.ts starts it and sends it both addresses over IPC.
 */
import { connect, createServer } from 'node:net'

export interface AddressTask {
  address: string
  port: number
  server: { host: string; port: number }
}

process.on('message', ({ address, port, server }: AddressTask) => {
  createServer({ noDelay: true }, client => {
    const upstream = connect({ ...server, noDelay: true })
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
    client.pipe(upstream).pipe(client)
  }).listen(port, address, () => process.send?.('listening'))
})
process.send?.('started')
