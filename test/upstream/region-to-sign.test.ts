/** Which region a token is signed for, by the certificate of the server; without a server. */
import { TLSSocket } from 'node:tls'
import { test } from 'tap'
import type { Endpoint } from '../../src/endpoint.ts'
import type { Wire } from '../../src/net/wire.ts'
import { regionOfNames, regionToSign } from '../../src/upstream/server-region.ts'
import { GLOBAL, namesIn } from '../support/global-database.ts'

test('regionOfNames', async t => {
  t.equal(regionOfNames(namesIn('eu-west-1')), 'eu-west-1')
  t.equal(regionOfNames(['SHOP.cluster-abc.EU-WEST-1.rds.amazonaws.com']), 'eu-west-1')
  t.equal(regionOfNames([GLOBAL]), undefined)
  t.equal(regionOfNames([...namesIn('eu-west-1'), ...namesIn('us-east-2')]), undefined, 'two regions')
  t.equal(regionOfNames([]), undefined)
})

test('only the certificate of a verified connection names the region', t => {
  const endpoint = { rds: { host: GLOBAL, port: 3306, region: undefined } } as unknown as Endpoint
  const subjectaltname = (names: string[]) => names.map(name => `DNS:${name}`).join(', ')
  const over = (authorized: boolean, names: string[], prototype: object = TLSSocket.prototype) => {
    const getPeerCertificate = () => ({ subjectaltname: subjectaltname(names) })
    const socket = Object.create(prototype, {
      authorized: { value: authorized },
      getPeerCertificate: { value: getPeerCertificate },
    })
    return { socket } as Wire
  }
  const message = `the server behind ${GLOBAL} has a certificate without an AWS region, or with several: `
  t.equal(regionToSign(endpoint, over(true, namesIn('eu-west-1'))), 'eu-west-1')
  t.throws(() => regionToSign(endpoint, over(false, namesIn('eu-west-1'))), { code: 'REGION_UNKNOWN', message })
  t.throws(() => regionToSign(endpoint, over(true, namesIn('eu-west-1'), {})), { code: 'REGION_UNKNOWN', message })
  const long = 'a'.repeat(300)
  t.throws(() => regionToSign(endpoint, over(true, [long])), { message: /: a{200}$/ })
  const { socket: carrier } = over(true, namesIn('eu-west-1'))
  const inside = { ...over(true, namesIn('us-east-2'), {}), carrier } as Wire
  t.equal(regionToSign(endpoint, inside), 'eu-west-1', 'below a compressed stream')
  const regional = { rds: { ...endpoint.rds, region: 'eu-west-2' } } as Endpoint
  t.equal(regionToSign(regional, over(true, namesIn('us-east-2'))), 'eu-west-2', 'the region of the endpoint counts')
  t.end()
})
