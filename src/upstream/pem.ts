/** Checks the PEM texts of certificate authorities. Node.js ignores an invalid one, and would later call the server's certificate unknown. */
import { X509Certificate } from 'node:crypto'

/** OpenSSL takes only a whole line for the begin of a certificate. */
const BEGIN = /^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[ \t\r]*$/gm

/** What is wrong with the certificates in a PEM text; undefined where nothing is. Text between them is a comment. */
export function certificatesProblem(pem: string): string | undefined {
  const starts = [...pem.matchAll(BEGIN)].map(({ index }) => index)
  if (starts.length === 0) {
    return pem.includes('PRIVATE KEY-----') ? 'is a private key, not a certificate' : 'not a certificate in PEM format'
  }
  const broken = starts.findIndex((start, index) => !isCertificate(pem.slice(start, starts[index + 1])))
  if (broken === -1) return undefined
  return starts.length === 1
    ? 'not a certificate in PEM format'
    : `certificate ${broken + 1} of ${starts.length} is invalid`
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem)
    return true
  } catch {
    return false
  }
}
