/** TLS to clients, with a certificate of our own. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { closed, switchSocket, timedOut, timeLeft, type Wire } from '../net/wire.ts'
import { readText } from '../read-file.ts'

/** Milliseconds between two looks at the files. */
const RELOAD_INTERVAL_MS = 5_000

export interface LocalTls {
  /** the context to serve TLS with: of the files as they are now, or as they last were good */
  secureContext(): Promise<SecureContext>
  /** Date.now() at which the certificate ends */
  expires(): number
}

interface Loaded {
  context: SecureContext
  expires: number
  /** changes when a file does */
  version: string
}

/**
 * The certificate and key in these PEM files, read again when they change.
 * @throws ProxyError CONFIG_INVALID where they are missing, not PEM, or do not fit
 */
export async function createLocalTls(
  certFile: string,
  keyFile: string,
  log: Logger,
  clock: Clock = monotonicClock,
): Promise<LocalTls> {
  let loaded = await load(certFile, keyFile)
  let looked = clock.now()
  let complained = ''
  return {
    async secureContext() {
      if (clock.now() - looked < RELOAD_INTERVAL_MS) return loaded.context
      looked = clock.now()
      try {
        if ((await versionOf(certFile, keyFile)) !== loaded.version) {
          loaded = await load(certFile, keyFile)
          log.info({ expires: new Date(loaded.expires).toISOString() }, `${certFile}: new certificate for clients`)
        }
        complained = ''
      } catch (error) {
        // Half-written, or one file of two: the next look may find both.
        const { message } = error as Error
        if (message !== complained) log.warn({ code: 'CONFIG_INVALID' }, `${message}; going on with the one before`)
        complained = message
      }
      return loaded.context
    },
    expires: () => loaded.expires,
  }
}

async function versionOf(...files: string[]): Promise<string> {
  const stats = await Promise.all(files.map(file => stat(file)))
  return stats.map(({ mtimeMs, ino, size }) => `${mtimeMs} ${ino} ${size}`).join()
}

async function load(certFile: string, keyFile: string): Promise<Loaded> {
  const [cert, key] = await Promise.all([readText('--tls-cert', certFile), readText('--tls-key', keyFile)])
  try {
    const { validTo } = new X509Certificate(cert)
    // As bytes: Node.js passes over an empty text, and would go on without a key.
    const context = createSecureContext({ cert, key: Buffer.from(key), minVersion: 'TLSv1.2' })
    return { context, expires: Date.parse(validTo), version: await versionOf(certFile, keyFile) }
  } catch (error) {
    const reason = systemCode(error) || (error as Error).message
    throw new ProxyError('CONFIG_INVALID', `--tls-cert ${certFile}, --tls-key ${keyFile}: ${reason}`, { cause: error })
  }
}

/** Starts TLS after the client's SSLRequest; after it, `wire` goes on inside. @throws ProxyError CLIENT_… */
export async function startClientTls(wire: Wire, tls: LocalTls): Promise<void> {
  const secureContext = await tls.secureContext()
  if (wire.socket.destroyed) throw closed(wire, 'TLS')
  // What the client has sent behind its SSLRequest is part of TLS, and is read as such.
  const socket = new TLSSocket(wire.socket, { isServer: true, secureContext })
  // The name under which a server's TLSSocket speaks of broken TLS, as long as no tls.Server has let go of it.
  socket.on('_tlsError', error => socket.destroy(error))
  switchSocket(wire, socket)
  const giveUp = new AbortController()
  const cancelTimer = wire.clock.after(timeLeft(wire), () => giveUp.abort(timedOut(wire, 'TLS')))
  const onClose = () => giveUp.abort(closed(wire, 'TLS'))
  socket.once('close', onClose).once('end', onClose)
  try {
    await once(socket, 'secure', { signal: giveUp.signal })
  } catch (error) {
    const reason = giveUp.signal.reason
    socket.destroy()
    if (reason instanceof ProxyError) throw reason
    const message = `TLS with the client failed: ${systemCode(error) || (error as Error).message}`
    throw new ProxyError('CLIENT_TLS_FAILED', message, { cause: error })
  } finally {
    cancelTimer()
    socket.off('close', onClose).off('end', onClose)
  }
}
