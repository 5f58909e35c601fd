/** The client process of bulk.ts and upload.ts: it transfers many bytes over one connection. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { answer } from './child.ts'
import { type Client, command, logIn, packet, type Route } from './client.ts'

export interface TransferTask {
  route: Route
  /**
   * `read`: the rows of `sql`; `load`: a file for the LOAD DATA LOCAL in `sql`, which fails at its first row; `values`:
   * parameters for the statement `sql`, which selects one column and is never executed
   */
  kind: 'read' | 'load' | 'values'
  sql: string
  /** the approximate number of bytes to transfer */
  bytes: number
}

export interface TransferResult {
  bytes: number
  seconds: number
}

const COM_QUIT = 0x01
const COM_QUERY = 0x03
const COM_STMT_PREPARE = 0x16
const COM_STMT_SEND_LONG_DATA = 0x18
const COM_STMT_RESET = 0x1a
const EOF = 0xfe
const MEGABYTE = 1e6

/** The packet size of libmysqlclient for files. */
const FILE_PACKET_BYTES = 16 * 1024 - 4
/** Fits into the smallest default of max_allowed_packet, 16 MiB. */
const VALUE_BYTES = 16 * MEGABYTE

const work = { read, load, values }

answer<TransferTask>(async task => {
  const client = await logIn(task.route)
  const started = performance.now()
  const bytes = await work[task.kind](client, task)
  const seconds = (performance.now() - started) / 1000
  client.socket.destroy()
  return { bytes, seconds } satisfies TransferResult
})

async function read(client: Client, { sql, bytes }: TransferTask): Promise<number> {
  // After COM_QUIT, the end of the rows is the end of the stream, so the client parses nothing.
  client.socket.write(Buffer.concat([command(COM_QUERY, sql), command(COM_QUIT)]))
  await client.next()
  const total = await client.countToEnd()
  if (total < bytes * 0.9) throw new Error(`received only ${total} bytes`)
  return total
}

async function load(client: Client, { sql, bytes }: TransferTask): Promise<number> {
  client.socket.write(command(COM_QUERY, sql))
  await client.next() // the request for the file
  // Sequence ids repeat after 256 packets, so the client sends the same packets repeatedly.
  const lines = Buffer.from(`${'x'.repeat(99)}\n`.repeat(Math.ceil(FILE_PACKET_BYTES / 100))).subarray(
    0,
    FILE_PACKET_BYTES,
  )
  const first = client.sequence + 1
  const round = Buffer.concat(Array.from({ length: 256 }, (_, index) => packet(lines, (first + index) % 256)))
  let sent = 0
  for (; sent < bytes; sent += round.length) await write(client.socket, round)
  await write(client.socket, packet(Buffer.alloc(0), first % 256))
  await client.next().then(
    () => Promise.reject(new Error('the server did not refuse the first row')),
    (error: Error) => (/out of range/.test(error.message) ? undefined : Promise.reject(error)),
  )
  return sent
}

async function values(client: Client, { sql, bytes }: TransferTask): Promise<number> {
  client.socket.write(command(COM_STMT_PREPARE, sql))
  const statement = (await client.next()).subarray(1, 5)
  await untilEOF(client) // the parameter
  await untilEOF(client) // the column
  const value = command(
    COM_STMT_SEND_LONG_DATA,
    Buffer.concat([statement, Buffer.alloc(2), Buffer.alloc(VALUE_BYTES, 'x')]),
  )
  const reset = command(COM_STMT_RESET, statement)
  let sent = 0
  for (; sent < bytes; sent += value.length) {
    client.socket.write(value)
    client.socket.write(reset)
    await client.next() // OK_Packet: the server received everything
  }
  return sent
}

async function untilEOF(client: Client): Promise<void> {
  for (;;) {
    const payload = await client.next()
    if (payload[0] === EOF && payload.length < 9) return
  }
}

async function write(socket: Socket, bytes: Buffer): Promise<void> {
  if (!socket.write(bytes)) await once(socket, 'drain')
}
