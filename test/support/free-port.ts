import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below the ports that systems choose themselves: a listener on port 0 or a connection of another test could take one of those. */
const [FIRST_PORT, LAST_PORT] = [15_000, 31_999]

const given = new Set<number>()

/** A port of 127.0.0.1 where nothing listens, and another one each time. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, LAST_PORT + 1)
    if (given.has(port)) continue
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch {
      continue // in use
    }
    server.close()
    await once(server, 'close')
    given.add(port)
    return port
  }
}
