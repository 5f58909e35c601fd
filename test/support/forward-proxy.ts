/** A forward proxy of HTTP CONNECT in this process. It leads every connection to one local port, so that no name is resolved. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Server as NetServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface HttpProxy {
  /** `127.0.0.1:PORT` */
  address: string
  /** what was asked for, oldest first: `host:port` */
  targets: string[]
  /** the Proxy-Authorization headers, decoded */
  logins: (string | undefined)[]
}

/** @param answer sent instead of a connection, for example `403 Filtered` */
export async function startHttpProxy(
  t: Test,
  { port = 0, answer, server = createServer() }: { port?: number; answer?: string; server?: Server },
): Promise<HttpProxy> {
  const proxy: HttpProxy = { address: '', targets: [], logins: [] }
  server.on('connect', (request, socket: Socket, head) => {
    proxy.targets.push(request.url ?? '')
    const [, login] = /^Basic (.*)$/.exec(request.headers['proxy-authorization'] ?? '') ?? []
    proxy.logins.push(login && Buffer.from(login, 'base64').toString())
    socket.on('error', () => {})
    if (answer !== undefined) {
      socket.end(`HTTP/1.1 ${answer}\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.write(head)
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('close', () => onward.destroy())
  })
  proxy.address = `127.0.0.1:${await listen(t, server)}`
  return proxy
}

/** Starts `server` on a free port, which it resolves with. At the end of the test it goes, with its connections. */
export async function listen(t: Test, server: NetServer): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
