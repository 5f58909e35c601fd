/** The client process of local-tls.ts: it runs small queries in sequence. */
import { answer } from './child.ts'
import { command, logIn, type Route } from './client.ts'

export interface PointSelectTask {
  route: Route
  seconds: number
}

const COM_QUERY = 0x03
/** of the answer to SELECT 1: column count, column, EOF, row, EOF */
const PACKETS = 5

answer<PointSelectTask>(async ({ route, seconds }) => {
  const client = await logIn(route)
  const started = performance.now()
  let count = 0
  while (performance.now() - started < seconds * 1_000) {
    client.socket.write(command(COM_QUERY, 'SELECT 1'))
    for (let packet = 0; packet < PACKETS; packet++) await client.next()
    count++
  }
  const perSecond = count / ((performance.now() - started) / 1_000)
  client.socket.destroy()
  return perSecond
})
