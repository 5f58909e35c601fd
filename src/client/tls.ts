/** TLS to clients, with a certificate from files that may change. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { closed, switchSocket, timedOut, timeLeft, type Wire } from '../net/wire.ts'
import { readText } from '../read-file.ts'

/** How often the files are checked for changes, at most. */
const RELOAD_INTERVAL_MS = 5_000

export interface LocalTls {
  /** what a TLS connection that starts now uses; of invalid files, the last valid ones */
  secureContext(): Promise<SecureContext>
  /** when the certificate expires, in Date.now() time; undefined if it renews itself */
  expires(): number | undefined
}

interface Loaded {
  context: SecureContext
  expires: number
  /** changes when a file does */
  version: string
}

/**
 * Loads the certificate and key from these PEM files, and again when they change.
 * @throws ProxyError CONFIG_INVALID if they are missing, not PEM, or do not match
 */
export async function createLocalTls(
  certFile: string,
  keyFile: string,
  log: Logger,
  clock: Clock = monotonicClock,
): Promise<LocalTls> {
  let loaded = await load(certFile, keyFile)
  let lastCheck = clock.now()
  let lastWarning = ''
  async function secureContext(): Promise<SecureContext> {
    if (clock.now() - lastCheck < RELOAD_INTERVAL_MS) return loaded.context
    lastCheck = clock.now()
    try {
      if ((await versionOf(certFile, keyFile)) !== loaded.version) {
        loaded = await load(certFile, keyFile)
        log.info({ expires: new Date(loaded.expires).toISOString() }, `${certFile}: new certificate for clients`)
      }
      lastWarning = ''
    } catch (error) {
      // Perhaps half-written, or one of two files: the next check may find both.
      const { message } = error as Error
      if (message !== lastWarning)
        log.warn({ code: 'CONFIG_INVALID' }, `${message}; the previous certificate stays in use`)
      lastWarning = message
    }
    return loaded.context
  }
  return {
    secureContext,
    expires() {
      void secureContext() // the next call knows of files that are new, also if no client connects
      return loaded.expires
    },
  }
}

/** What OpenSSL's codes mean here. */
const REASONS: Readonly<Record<string, string>> = {
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key does not belong to the certificate',
  ERR_OSSL_BAD_DECRYPT: 'the key is encrypted; use one without a passphrase',
  ERR_MISSING_PASSPHRASE_FOR_ENCRYPTED_KEY: 'the key is encrypted; use one without a passphrase',
  ERR_OSSL_PEM_NO_START_LINE: 'one of them is not a PEM certificate or key, or they are swapped',
}

async function versionOf(...files: string[]): Promise<string> {
  const stats = await Promise.all(files.map(file => stat(file)))
  return stats.map(({ mtimeMs, ino, size }) => `${mtimeMs} ${ino} ${size}`).join()
}

async function load(certFile: string, keyFile: string): Promise<Loaded> {
  const [cert, key] = await Promise.all([readText('TLS certificate', certFile), readText('TLS key', keyFile)])
  try {
    const { validTo } = new X509Certificate(cert)
    // As bytes: Node.js ignores an empty string, and would go on without a key.
    const context = createSecureContext({ cert, key: Buffer.from(key), minVersion: 'TLSv1.2' })
    return { context, expires: Date.parse(validTo), version: await versionOf(certFile, keyFile) }
  } catch (error) {
    const code = systemCode(error)
    const reason = REASONS[code] ? `${REASONS[code]} (${code})` : code || (error as Error).message
    throw new ProxyError('CONFIG_INVALID', `TLS certificate ${certFile}, key ${keyFile}: ${reason}`, { cause: error })
  }
}

/** Starts TLS after the client's SSLRequest. `wire` then uses the TLS socket. @throws ProxyError CLIENT_… */
export async function startClientTls(wire: Wire, tls: LocalTls): Promise<void> {
  const secureContext = await tls.secureContext()
  if (wire.socket.destroyed) throw closed(wire, 'TLS')
  // Bytes behind the client's SSLRequest are read as part of TLS.
  const socket = new TLSSocket(wire.socket, { isServer: true, secureContext })
  // A server-side TLSSocket without a tls.Server reports TLS errors with this event.
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
