/**
 * A peer's part in a session, as bytes, so that what mutates bytes mutates sessions: steps one after another, each a byte
 * that says which, then what it needs. Every sequence of bytes is a scenario.
 */

/** What plays a scenario: a client, or a server. */
export interface Player {
  /** a packet with this sequence id */
  packet(payload: Buffer, sequence: number): void
  raw(bytes: Buffer): void
  /** FIN */
  end(): void
  /** RST */
  reset(): void
  /** resolves with the sequence id of the next packet from the other side; undefined where none comes in time */
  read(): Promise<number | undefined>
  /** resolves when TLS is up, or cannot be */
  startTls(certificate: 'good' | 'other name' | 'other authority'): Promise<void>
}

const STEPS = [
  ...(['packet', 'raw', 'slow', 'pause', 'end', 'reset', 'read', 'flood', 'repeat'] as const),
  ...(['tls', 'tlsOtherName', 'tlsOtherAuthority', 'sequence'] as const),
]

const code = (step: (typeof STEPS)[number]) => STEPS.indexOf(step)

// ---- writing one ----

const withLength = (step: (typeof STEPS)[number], bytes: Buffer) =>
  Buffer.concat([Buffer.of(code(step), bytes.length & 0xff, bytes.length >> 8), bytes])

/** The steps; a scenario is some of them in a row. `Buffer.concat` makes it. */
export const steps = {
  /** behind a header with the next sequence id; at most 64 KiB - 1 */
  packet: (payload: Buffer) => withLength('packet', payload),
  raw: (bytes: Buffer) => withLength('raw', bytes),
  /** byte by byte */
  slow: (bytes: Buffer) => withLength('slow', bytes),
  pause: (milliseconds: number) => Buffer.of(code('pause'), milliseconds),
  end: Buffer.of(code('end')),
  reset: Buffer.of(code('reset')),
  /** waits for a packet of the other side */
  read: Buffer.of(code('read')),
  /** `count` times 64 KiB of `byte` */
  flood: (count: number, byte: number) => Buffer.of(code('flood'), count, byte),
  /** a packet `count` times; sequence ids go on */
  repeat: (count: number, payload: Buffer) =>
    Buffer.concat([Buffer.of(code('repeat'), count & 0xff, count >> 8, payload.length), payload]),
  tls: Buffer.of(code('tls')),
  tlsOtherName: Buffer.of(code('tlsOtherName')),
  tlsOtherAuthority: Buffer.of(code('tlsOtherAuthority')),
  /** of the next packet */
  sequence: (id: number) => Buffer.of(code('sequence'), id),
}

// ---- playing it ----

/** Bytes that a scenario may send: what repeats and floods ask for beyond it is left out. */
const MOST = 1 << 20

/** Times that a packet is repeated at most. */
const MOST_REPEATS = 5_000

/** Milliseconds for all pauses of a scenario. */
const LONGEST_PAUSES = 2_000

/** Resolves when the last step is done. */
export async function play(scenario: Buffer, player: Player): Promise<void> {
  let at = 0
  let sequence = 0
  let sent = 0
  let paused = 0
  let isAnswered = true
  let ended = false
  const byte = () => scenario[at++] ?? 0
  const uint16 = () => byte() | (byte() << 8)
  const take = (length: number) => {
    at += length
    return scenario.subarray(at - length, at)
  }
  const packet = (payload: Buffer) => {
    player.packet(payload, sequence)
    sequence = (sequence + 1) & 0xff
    sent += payload.length + 4
  }
  while (at < scenario.length) {
    switch (STEPS[byte() % STEPS.length]!) {
      case 'packet':
        packet(take(uint16()))
        break
      case 'raw':
        player.raw(take(uint16()))
        break
      case 'slow': {
        const bytes = take(uint16())
        paused += PIECES
        if (paused <= LONGEST_PAUSES) await slowly(bytes, player)
        break
      }
      case 'pause': {
        const milliseconds = byte()
        paused += milliseconds
        if (paused <= LONGEST_PAUSES) await later(milliseconds)
        break
      }
      case 'end':
        player.end()
        ended = true
        break
      case 'reset':
        // libuv has no reset for a socket that is being ended.
        if (!ended) player.reset()
        break
      case 'read': {
        // Do not wait again for a peer that did not answer once.
        const answer: number | undefined = isAnswered ? await player.read() : undefined
        isAnswered = answer !== undefined
        if (answer !== undefined) sequence = (answer + 1) & 0xff
        break
      }
      case 'flood': {
        const count = byte()
        const piece = Buffer.alloc(64 * 1024, byte())
        for (let n = 0; n < count && sent < MOST; n++, sent += piece.length) player.raw(piece)
        break
      }
      case 'repeat': {
        const count = uint16()
        const payload = take(byte())
        for (let n = 0; n < Math.min(count, MOST_REPEATS) && sent < MOST; n++) packet(payload)
        break
      }
      case 'tls':
        await player.startTls('good')
        break
      case 'tlsOtherName':
        await player.startTls('other name')
        break
      case 'tlsOtherAuthority':
        await player.startTls('other authority')
        break
      case 'sequence':
        sequence = byte()
    }
  }
}

const PIECES = 200

async function slowly(bytes: Buffer, player: Player): Promise<void> {
  const pieces = Math.min(bytes.length, PIECES)
  for (let n = 0; n < pieces; n++) {
    player.raw(bytes.subarray((n * bytes.length) / pieces, ((n + 1) * bytes.length) / pieces))
    await later(0)
  }
}

function later(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}
