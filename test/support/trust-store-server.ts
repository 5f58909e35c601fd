/** A stand-in for AWS's trust store: an HTTPS server with the name of the real one, and its own CA. */
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo, LookupFunction } from 'node:net'
import type { Test } from 'tap'
import type { DownloadOptions } from '../../src/aws/trust-store.ts'
import { createRdsAuthority } from './rds-authority.ts'

export const TRUST_STORE = 'truststore.pki.rds.amazonaws.com'

export interface TrustStoreServer {
  connection: NonNullable<DownloadOptions['connection']>
  /** paths that were requested */
  requests: string[]
}

/** @param name on its certificate */
export async function startTrustStore(t: Test, answer: RequestListener, name = TRUST_STORE): Promise<TrustStoreServer> {
  const authority = createRdsAuthority('', { commonName: 'a public CA' })
  const { certificate, key } = authority.issue(name)
  const requests: string[] = []
  const server = createServer({ cert: certificate, key }, (request, response) => {
    requests.push(`${request.method} https://${request.headers.host}${request.url}`)
    answer(request, response)
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  // Node.js asks for all addresses if it tries several families.
  const lookup: LookupFunction = (_host, options, done) => {
    if (options.all) done(null, [{ address: '127.0.0.1', family: 4 }])
    else done(null, '127.0.0.1', 4)
  }
  const { port } = server.address() as AddressInfo
  return { connection: { port, ca: authority.root, lookup }, requests }
}
