/**
 * The group of the key exchange that a TLS client puts first. OpenSSL sends a key share for the first group of a list alone. A
 * server that does not support it asks for another one with a HelloRetryRequest, which costs a round trip at each login, also
 * when it resumes a session. https://www.rfc-editor.org/rfc/rfc8446#section-2.1
 */
import { createSecureContext, type TLSSocket } from 'node:tls'

/** In the order of OpenSSL's own list: 3.0 has no ML-KEM, 3.5 only the first two of finite fields. */
const GROUPS = [
  'X25519MLKEM768',
  'X25519',
  'prime256v1',
  'X448',
  'secp384r1',
  'secp521r1',
  'ffdhe2048',
  'ffdhe3072',
  'ffdhe4096',
  'ffdhe6144',
  'ffdhe8192',
] as const
export type Group = (typeof GROUPS)[number]

/** P-256: MySQL 9.7 supports no other group but P-384 and P-521, and MariaDB takes the client's first. */
export const FIRST_GROUP: Group = 'prime256v1'

let supported: readonly Group[] | undefined

/** All groups of this OpenSSL, which may lack some: older versions do, and those for FIPS. */
function supportedGroups(): readonly Group[] {
  supported ??= GROUPS.filter(group => {
    try {
      // Without authorities, it would load the public roots.
      createSecureContext({ ecdhCurve: group, ca: [] })
      return true
    } catch {
      return false
    }
  })
  return supported
}

/** All supported groups with `first` at the front, as the option ecdhCurve of Node.js takes them. */
export function groupsFrom(first: Group): string {
  const groups = supportedGroups()
  return [...groups.filter(group => group === first), ...groups.filter(group => group !== first)].join(':')
}

/** The group that a TLS 1.3 connection of a client has used; undefined if it is not one of ours. */
export function groupOf(socket: Pick<TLSSocket, 'getProtocol' | 'getEphemeralKeyInfo'>): Group | undefined {
  // TLS 1.2 has no key share that a server could refuse.
  if (socket.getProtocol() !== 'TLSv1.3') return undefined
  const info = socket.getEphemeralKeyInfo()
  const { type, name, size } = (info ?? {}) as { type?: string; name?: string; size?: number }
  // Node.js has no name for ML-KEM and leaves all of it out.
  const group = type === undefined ? 'X25519MLKEM768' : (name ?? `ffdhe${size}`)
  return supportedGroups().find(known => known === group)
}
