/** What helper programs print, without what may be a secret. */
import type { ProxyError } from '../errors.ts'

/**
 * The first line that credential_process wrote to stderr, without what looks like a secret; undefined where it wrote none.
 * The SDK's message has the command line first, which may hold a password.
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

/** `text` without what may be a secret: what is called one, and runs of letters and digits as long as a key. */
export function redact(text: string): string {
  return text
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s*[=:]\\s*["']?)[^\\s"',&]+`, 'gi'), '$1***')
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s+["']?)(?=\\S*\\d)[^\\s"']+`, 'gi'), '$1***')
    .replace(/[A-Za-z0-9+/=_-]{20,}/g, run => (looksLikeKey(run) ? '***' : run))
}

/** Keys mix capitals, small letters and digits; so do paths, but not within a long part of theirs. */
function looksLikeKey(run: string): boolean {
  const parts = run.startsWith('/') ? run.split('/').filter(part => part.length >= 16) : [run]
  return parts.some(part => /[A-Z]/.test(part) && /[a-z]/.test(part) && /\d/.test(part))
}
