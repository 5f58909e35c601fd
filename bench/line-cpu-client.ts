/** The client process of line-cpu.ts: it logs in and quits repeatedly, with as little work of its own as possible. */
import { once } from 'node:events'
import { answer } from './child.ts'
import { logIn, packet, type Route } from './client.ts'

export interface LoginsTask {
  route: Route
  count: number
}

const COM_QUIT = 1

answer<LoginsTask>(async ({ route, count }) => {
  for (let index = 0; index < count; index++) {
    const { socket } = await logIn(route)
    const closed = once(socket, 'close')
    socket.end(packet(Buffer.of(COM_QUIT), 0))
    socket.resume()
    await closed
  }
  return count
})
