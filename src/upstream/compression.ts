/** --compress: which compression the logins of an endpoint ask for, and why. docs/decisions/0172-auto-measures-the-line.md */
import type { Clock } from '../clock.ts'
import { type Endpoint, formatHostPort } from '../endpoint.ts'
import type { Logger } from '../log.ts'
import { compressionWith } from '../protocol/capabilities.ts'
import { type Compression, hasZstd } from '../protocol/inflate.ts'
import type { CompressionState } from '../state.ts'
import { createLineMeter, type LineMeter } from './line-meter.ts'

export interface LineCompression {
  /** What a login asks for, by the flags of both sides. A client that asks for compression itself compresses from end to end. */
  choose(client: number, server: number): Compression | undefined
  /** For a session: called if the server refuses to make its network buffer larger. undefined: this server has refused before */
  onTooLarge(): (() => void) | undefined
  /** what the next login finds */
  state(): CompressionState
  /** undefined unless compression depends on the line */
  line: LineMeter | undefined
}

/** Undefined if compression is off. */
export function createLineCompression(
  { compress, dial }: Pick<Endpoint, 'compress' | 'dial'>,
  log: Logger,
  clock?: Clock,
): LineCompression | undefined {
  if (compress === 'off') return undefined
  const setting = compress
  const wanted = setting === 'zlib' ? 'zlib' : 'zstd'
  const line = setting === 'auto' ? createLineMeter(clock) : undefined
  /** by the last greeting; undefined before the first */
  let offered: Compression | 'none' | undefined
  let isTooLarge = false

  const note = (server: number) => {
    const before = offered
    offered = compressionWith(wanted, 0, server) ?? 'none'
    if (offered !== 'none' || before === 'none') return
    log.warn({}, `${formatHostPort(dial)} offers no compression, so the option compress (${setting}) has no effect`)
  }
  const noteTooLarge = () => {
    if (isTooLarge) return
    isTooLarge = true
    const message = `${formatHostPort(dial)} has a max_allowed_packet below 64 KiB: a session has ended with ERROR 1153, and the next ones have smaller compressed packets`
    log.warn({}, message)
  }
  const reason = (): string => {
    if (offered === 'none') return 'the server offers no compression'
    if (offered === 'zlib' && wanted === 'zstd')
      return hasZstd ? 'the server offers no zstd' : 'this Node.js has no zstd'
    return ''
  }

  return {
    line,
    choose(client, server) {
      if (line && !line.isSlow()) return undefined
      note(server)
      return compressionWith(wanted, client, server)
    },
    onTooLarge: () => (isTooLarge ? undefined : noteTooLarge),
    state() {
      const measured = line?.measured()
      const isOn = !measured || measured.isSlow
      const next = offered === 'none' || !isOn ? undefined : (offered ?? wanted)
      const why = [measured?.why, isOn ? reason() : ''].filter(Boolean).join('; ')
      const { roundTrip, bytesPerSecond } = measured ?? {}
      return { setting, next, why, roundTrip, bytesPerSecond }
    },
  }
}
