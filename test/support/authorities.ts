/** Authorities and certificates that are made once: a key takes a tenth of a second. */
import { type Authority, type Certificate, createAuthority } from '../../src/demo/certificates.ts'

const authorities = new Map<string, Promise<Authority>>()
const certificates = new Map<string, Promise<Certificate>>()

/** The authority of this name, which only tests trust. */
export async function authorityOf(name: string): Promise<Authority> {
  if (!authorities.has(name)) authorities.set(name, createAuthority(name))
  return await authorities.get(name)!
}

/** The certificate of an authority for a server with these names. */
export async function certificateBy(authority: string, names: readonly string[]): Promise<Certificate> {
  const key = [authority, ...names].join()
  if (!certificates.has(key))
    certificates.set(
      key,
      authorityOf(authority).then(({ issue }) => issue({ names: [...names] })),
    )
  return await certificates.get(key)!
}
