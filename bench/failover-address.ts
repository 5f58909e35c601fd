/**
 * One address of the database, in a network namespace of its own: hands connections on to the server.
 * Started by bench/failover.ts, which tells it over IPC where to listen and where the server is.
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
