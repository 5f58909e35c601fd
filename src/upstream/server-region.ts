/** The region of the server behind an Aurora global endpoint. docs/decisions/0112-region-from-the-certificate.md */
import { TLSSocket } from 'node:tls'
import { type Endpoint, regionOf } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Wire } from '../net/wire.ts'
import { namesOf } from './tls.ts'

/**
 * The region that a token for this connection must be signed for: the endpoint's own, or of a global endpoint that of the
 * server on the other side of TLS.
 * @throws ProxyError REGION_UNKNOWN
 */
export function regionToSign({ rds }: Endpoint, wire: Wire): string {
  if (rds.region !== undefined) return rds.region
  const socket = wire.carrier ?? wire.socket
  const names = socket instanceof TLSSocket && socket.authorized ? namesOf(socket.getPeerCertificate()) : []
  const region = regionOfNames(names)
  if (region !== undefined) return region
  throw new ProxyError(
    'REGION_UNKNOWN',
    `the server behind ${rds.host} has a certificate without an AWS region, or with several: ${names.join(', ').slice(0, 200)}`,
  )
}

/** The one region in the names of RDS endpoints; undefined if there is none, or more than one. */
export function regionOfNames(names: readonly string[]): string | undefined {
  const regions = new Set(names.flatMap(name => regionOf(name.toLowerCase()) ?? []))
  return regions.size === 1 ? [...regions][0] : undefined
}
