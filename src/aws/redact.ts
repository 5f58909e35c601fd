/** Removes what may be a secret from the output of helper programs. */
import type { ProxyError } from '../errors.ts'

/**
 * The first line that credential_process wrote to stderr, redacted; undefined if it wrote nothing. The first line of the
 * SDK's message is the command line, which may contain a password.
 */
export function stderrOf(error: ProxyError): string | undefined {
  if (!(error.cause instanceof Error) || !error.cause.message.startsWith('Command failed:')) return undefined
  const line = error.cause.message
    .split('\n')
    .slice(1)
    .map(text => text.trim())
    .find(text => text !== '')
  return line === undefined ? undefined : redact(line).slice(0, 200)
}

const CALLED_SECRET = '(?:secret|token|password|passphrase|signature|key)[\\w-]*'

/** Replaces by *** what is named like a secret, and what looks like a key. */
export function redact(text: string): string {
  return text
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s*[=:]\\s*["']?)[^\\s"',&]+`, 'gi'), '$1***')
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s+["']?)(?=\\S*\\d)[^\\s"']+`, 'gi'), '$1***')
    .replace(/[A-Za-z0-9+/=_-]{20,}/g, run => (looksLikeKey(run) ? '***' : run))
}

/** Keys mix upper case, lower case and digits. Paths do too, but not within one long part. */
function looksLikeKey(run: string): boolean {
  const parts = run.startsWith('/') ? run.split('/').filter(part => part.length >= 16) : [run]
  return parts.some(part => /[A-Z]/.test(part) && /[a-z]/.test(part) && /\d/.test(part))
}
