/** TLS to clients, with a certificate from files that may change. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { closed, isOpen, switchSocket, timedOut, timeLeft, type Wire } from '../net/wire.ts'
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

async function versionOf(...files: string[]): Promise<string> {
  const stats = await Promise.all(files.map(file => stat(file)))
  return stats.map(({ mtimeMs, ino, size }) => `${mtimeMs} ${ino} ${size}`).join()
}

/** How messages call the two files. */
interface Labels {
  cert: string
  key: string
}

const OWN_LABELS: Labels = { cert: 'TLS certificate', key: 'TLS key' }

async function load(certFile: string, keyFile: string): Promise<Loaded> {
  const version = await versionOf(certFile, keyFile).catch(() => '')
  const { problems, context, expires } = await checkCertificate(certFile, keyFile, OWN_LABELS)
  if (!context) throw new ProxyError('CONFIG_INVALID', problems.join('; '))
  return { context, expires, version }
}

interface CheckedCertificate {
  /** Each begins with the label and name of its file */
  problems: string[]
  /** undefined with a problem */
  context: SecureContext | undefined
  /** In Date.now() time */
  expires: number
  /** Clients that verify the certificate refuse it, others don't */
  warning: string | undefined
}

/** Reads the certificate and key for clients, and says what is wrong with which of them. */
export async function checkCertificate(certFile: string, keyFile: string, labels: Labels): Promise<CheckedCertificate> {
  const problems: string[] = []
  const of = {
    cert: (problem: string) => void problems.push(`${labels.cert} ${certFile}: ${problem}`),
    key: (problem: string) => void problems.push(`${labels.key} ${keyFile}: ${problem}`),
  }
  const read = async (label: string, file: string) => {
    return await readText(label, file).catch(error => void problems.push((error as Error).message))
  }
  const [cert, key] = [await read(labels.cert, certFile), await read(labels.key, keyFile)]
  const certificate = cert === undefined ? undefined : parseCertificate(cert, of.cert)
  const privateKey = key === undefined ? undefined : parseKey(key, of.key)
  if (certificate && privateKey && !certificate.checkPrivateKey(privateKey)) {
    of.key(`the key does not belong to the certificate ${certFile}`)
  }
  let context: SecureContext | undefined
  if (problems.length === 0) {
    try {
      // As bytes: Node.js ignores an empty string, and would go on without a key.
      context = createSecureContext({ cert, key: Buffer.from(key!), minVersion: 'TLSv1.2' })
    } catch (error) {
      of.cert(systemCode(error) || (error as Error).message)
    }
  }
  const expires = certificate ? Date.parse(certificate.validTo) : 0
  const dated = certificate && dateWarning(certificate)
  return { problems, context, expires, warning: dated && `${labels.cert} ${certFile}: ${dated}` }
}

function parseCertificate(pem: string, report: (problem: string) => void): X509Certificate | undefined {
  if (!/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/.test(pem)) {
    report(
      pem.includes('PRIVATE KEY-----') ? 'is a private key, not a certificate' : 'is not a certificate in PEM format',
    )
    return undefined
  }
  try {
    return new X509Certificate(pem)
  } catch (error) {
    report(`is not a valid certificate (${systemCode(error)})`)
    return undefined
  }
}

function parseKey(pem: string, report: (problem: string) => void): KeyObject | undefined {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) {
    report(
      pem.includes('CERTIFICATE-----') ? 'is a certificate, not a private key' : 'is not a private key in PEM format',
    )
    return undefined
  }
  if (/BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED/.test(pem)) {
    report('the key is encrypted; use one without a passphrase')
    return undefined
  }
  try {
    return createPrivateKey(pem)
  } catch (error) {
    report(`is not a valid private key (${systemCode(error)})`)
    return undefined
  }
}

function dateWarning({ validFrom, validTo }: X509Certificate): string | undefined {
  const now = Date.now()
  const shown = (date: string) => new Date(date).toISOString()
  if (Date.parse(validTo) <= now) return `the certificate expired on ${shown(validTo)}`
  return Date.parse(validFrom) > now ? `the certificate is not valid before ${shown(validFrom)}` : undefined
}

/** Starts TLS after the client's SSLRequest. `wire` then uses the TLS socket. @throws ProxyError CLIENT_… */
export async function startClientTls(wire: Wire, tls: LocalTls): Promise<void> {
  const secureContext = await tls.secureContext()
  if (!isOpen(wire)) throw closed(wire, 'TLS')
  // Bytes behind the client's SSLRequest are read as part of TLS.
  const socket = new TLSSocket(wire.socket, { isServer: true, secureContext })
  // A server-side TLSSocket without a tls.Server reports TLS errors with this event.
  socket.on('_tlsError', error => socket.destroy(error))
  switchSocket(wire, socket)
  const giveUp = new AbortController()
  const cancelTimer = wire.clock.after(timeLeft(wire), () => giveUp.abort(timedOut(wire, 'TLS')))
  const onClose = () => giveUp.abort(closed(wire, 'TLS'))
  socket.once('close', onClose).once('end', onClose)
  wire.stop?.addEventListener('abort', onClose)
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
    wire.stop?.removeEventListener('abort', onClose)
  }
}
