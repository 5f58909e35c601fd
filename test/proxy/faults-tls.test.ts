import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { test } from 'tap'
import { type Certificate, createAuthority, type IssueOptions } from '../../src/demo/certificates.ts'
import { CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import { createCertificate } from '../../src/x509.ts'
import {
  checkEnded,
  checkGoodLogin,
  checkLog,
  checkOutcome,
  type Fault,
  hasToken,
  logIn,
  runFault,
  startProxy,
} from '../support/proxy.ts'
import {
  ACCESS_DENIED,
  err,
  goodLogin,
  greeting,
  greetingWithout,
  OK,
  type Peer,
  packet,
  RDS_HOST,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const DIAL = /127\.0\.0\.1:\d+/
const RDS = /database-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com/
const NO_TOKEN = /No token was sent/
const day = 24 * 3_600_000
const ago = (days: number) => new Date(Date.now() - days * day)

const TLS = { errno: 1043, sqlState: '08S01', token: false } as const
const CLOSED = { code: 'UPSTREAM_CLOSED', errno: 1158, sqlState: '08S01', token: false } as const

/** Greets, and does as `script` says once an SSLRequest has come. */
function insteadOfTls(script: Script): Script {
  return async peer => {
    peer.send(greeting())
    await peer.expect()
    await script(peer)
  }
}

/** A login as if nothing were wrong with the certificate: were a token sent, it would be recorded. */
function withCertificate(certificate: Certificate): Script {
  return async peer => {
    await untilResponse(peer, {}, certificate)
    peer.send(OK)
  }
}

async function issued(options: Partial<IssueOptions>): Promise<Certificate> {
  const { authority } = await testCertificates()
  return authority.issue({ names: [RDS_HOST], ...options })
}

/** A self-signed certificate. */
async function selfSigned(name: string): Promise<Certificate> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  const dates = { notBefore: ago(1), notAfter: ago(-1) }
  const certificate = createCertificate({
    commonName: name,
    names: [name],
    ...dates,
    publicKey,
    signingKey: privateKey,
  })
  return { certificate, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

interface Verification {
  certificate: () => Promise<Certificate>
  code: Fault['code']
  says: RegExp[]
  options?: Partial<ProxyOptions>
}

const certificates: Record<string, Verification> = {
  'of another database': {
    certificate: () => issued({ names: ['other-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'] }),
    code: 'TLS_WRONG_NAME',
    says: [/does not name database-1\./, /it names DNS:other-1\.abcdefghijkl/, DIAL, /leads to another database/],
  },
  'that only names the address that was dialled': {
    certificate: () => issued({ names: ['127.0.0.1', 'localhost'] }),
    code: 'TLS_WRONG_NAME',
    says: [/does not name database-1\./, /127\.0\.0\.1/],
  },
  'with more and longer names than a message has room for': {
    certificate: () => issued({ names: [1, 2, 3, 4, 5, 6].map(n => `${'n'.repeat(60)}.x${n}.rds.amazonaws.com`) }),
    options: { rdsEndpoint: `${'d'.repeat(63)}.abcdefghijkl.ap-southeast-1.rds.amazonaws.com:3306` },
    code: 'TLS_WRONG_NAME',
    says: [/does not name d{63}\./, /it names DNS:n/],
  },
  'of another authority': {
    certificate: async () => (await createAuthority('somebody else')).issue({ names: [RDS_HOST] }),
    code: 'TLS_UNKNOWN_CA',
    says: [RDS, /not issued by a trusted CA/, /option ca/],
  },
  'of another authority, with that authority': {
    async certificate() {
      const other = await createAuthority('somebody else')
      const { certificate, key } = await other.issue({ names: [RDS_HOST] })
      return { certificate: certificate + other.certificate, key }
    },
    code: 'TLS_UNKNOWN_CA',
    says: [RDS, /SELF_SIGNED_CERT_IN_CHAIN/, /option ca/],
  },
  'of an authority with the name of the trusted one': {
    async certificate() {
      const { authority } = await testCertificates()
      const impostor = await createAuthority('trusted by the tests')
      const { certificate, key } = await impostor.issue({ names: [RDS_HOST] })
      return { certificate: certificate + authority.certificate, key }
    },
    code: 'TLS_UNKNOWN_CA',
    says: [RDS, /option ca/],
  },
  'that it signed itself': {
    certificate: () => selfSigned(RDS_HOST),
    code: 'TLS_UNKNOWN_CA',
    says: [RDS, /DEPTH_ZERO_SELF_SIGNED_CERT/, /option ca/],
  },
  'that has expired': {
    certificate: () => issued({ notBefore: ago(20), notAfter: ago(10) }),
    code: 'TLS_EXPIRED',
    says: [RDS, /CERT_HAS_EXPIRED/, /Renew the server certificate/],
  },
  'that is not yet valid': {
    certificate: () => issued({ notBefore: ago(-1), notAfter: ago(-10) }),
    code: 'TLS_EXPIRED',
    says: [RDS, /CERT_NOT_YET_VALID/, /clock of this machine/],
  },
}

for (const [name, { certificate, code, says, options = {} }] of Object.entries(certificates)) {
  test(`the upstream has a certificate ${name}`, async t => {
    const script = withCertificate(await certificate())
    await runFault(t, { ...TLS, name, script, code, says: [...says, NO_TOKEN], options })
  })
}

const handshakes: Fault[] = [
  {
    ...TLS,
    name: 'offers no TLS',
    script: async peer => peer.send(greetingWithout(CLIENT_SSL)),
    code: 'TLS_NOT_OFFERED',
    says: [/does not offer TLS/, DIAL, RDS, NO_TOKEN],
  },
  {
    ...TLS,
    name: 'speaks TLS 1.1 only',
    script: insteadOfTls(async peer => {
      const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
      await peer.startTls((await testCertificates()).certificate, old)
      await peer.expect()
    }),
    code: 'TLS_FAILED',
    says: [DIAL, /TLS 1\.2 or newer/, NO_TOKEN],
  },
  {
    ...CLOSED,
    name: 'closes instead of TLS',
    script: insteadOfTls(async peer => peer.close()),
    says: [/closed while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'closes after the ClientHello',
    script: insteadOfTls(async peer => {
      await peer.expectRaw(100)
      peer.close()
    }),
    says: [/closed while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'closes in the middle of a TLS record',
    script: insteadOfTls(async peer => {
      await peer.expectRaw(100)
      peer.sendRaw(Buffer.from('160303007a0200', 'hex'))
      await peer.wait(20)
      peer.close()
    }),
    says: [/closed while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'resets instead of TLS',
    script: insteadOfTls(async peer => peer.reset()),
    says: [/closed while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'resets after the ClientHello',
    script: insteadOfTls(async peer => {
      await peer.expectRaw(100)
      await peer.wait(20)
      peer.reset()
    }),
    says: [/closed while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'says nothing instead of TLS',
    script: insteadOfTls(async () => {}),
    options: { loginTimeout: 5_000 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for TLS/, DIAL, /is silent/],
  },
  {
    ...CLOSED,
    name: 'stops in the middle of a TLS record',
    script: insteadOfTls(async peer => peer.sendRaw(Buffer.from('160303007a0200', 'hex'))),
    options: { loginTimeout: 5_000 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for TLS/, DIAL],
  },
  {
    ...CLOSED,
    name: 'never reads the SSLRequest',
    script: async peer => {
      peer.send(greeting())
      await peer.wait(6_000)
    },
    options: { loginTimeout: 5_000 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for TLS/, DIAL],
  },
  ...inClear({
    'an OK_Packet': packet(OK, 2),
    'an ERR_Packet': packet(err(1043, '08S01', 'Bad handshake'), 2),
    'an AuthSwitchRequest for a clear password': packet(Buffer.from('\xfemysql_clear_password\0', 'latin1'), 2),
    'a web page': 'HTTP/1.1 200 OK\r\n\r\n',
    'a TLS alert': Buffer.from('15030300020228', 'hex'),
  }),
  ...injected({
    'an OK_Packet': packet(OK, 1),
    'an OK_Packet for after TLS': packet(OK, 3),
    'a refusal': packet(ACCESS_DENIED, 1),
    'a single byte': Buffer.of(0),
  }),
]

/** Plaintext where the ServerHello belongs. */
function inClear(answers: Record<string, Buffer | string>): Fault[] {
  return Object.entries(answers).map(([what, bytes]) => ({
    ...TLS,
    name: `sends ${what} instead of TLS`,
    script: insteadOfTls(async peer => peer.sendRaw(bytes)),
    code: 'TLS_FAILED',
    says: [/TLS with 127\.0\.0\.1:\d+ failed/, NO_TOKEN],
  }))
}

/** Plaintext behind the greeting, in its segment and after a moment; then TLS as if nothing had been. */
function injected(additions: Record<string, Buffer>): Fault[] {
  const sslRequestLength = 36
  const goOn = async (peer: Peer) => {
    await peer.expectRaw(sslRequestLength)
    await peer.startTls((await testCertificates()).certificate)
    await peer.expect()
  }
  return Object.entries(additions).flatMap<Fault>(([what, bytes]) => {
    const fault = {
      ...TLS,
      code: 'TLS_PLAINTEXT_INJECTED' as const,
      says: [/plaintext between its greeting and TLS/, DIAL, /tampering/, NO_TOKEN],
    }
    return [
      {
        ...fault,
        name: `sends ${what} right behind its greeting`,
        async script(peer) {
          peer.sendRaw(Buffer.concat([packet(greeting(), 0), bytes]))
          await goOn(peer)
        },
      },
      {
        ...fault,
        name: `sends ${what} a moment after its greeting`,
        client: { thinks: 100 },
        async script(peer) {
          peer.send(greeting())
          await peer.wait(30)
          peer.sendRaw(bytes)
          await goOn(peer)
        },
      },
    ]
  })
}

for (const fault of handshakes) test(`the upstream ${fault.name}`, t => runFault(t, fault))

test('a resumed TLS session does not authenticate another server', async t => {
  const other = await (await createAuthority('somebody else')).issue({ names: [RDS_HOST] })
  const upstream = await startScriptedUpstream(t, [goodLogin, withCertificate(other), goodLogin])
  const { address, log } = await startProxy(t, { connect: upstream.address })
  await checkGoodLogin(t, address)
  checkOutcome(t, await logIn(t, address), {
    code: 'TLS_UNKNOWN_CA',
    errno: 1043,
    sqlState: '08S01',
    says: [RDS, NO_TOKEN],
  })
  checkLog(t, log, 'TLS_UNKNOWN_CA')
  t.same(upstream.connections.map(hasToken), [true, false])
  await checkGoodLogin(t, address)
  await checkEnded(t, upstream)
})

test('a failed first login does not affect the next one to the same server', async t => {
  const upstream = await startScriptedUpstream(t, [
    insteadOfTls(async peer => {
      await peer.startTls((await testCertificates()).certificate)
      peer.reset()
    }),
    goodLogin,
  ])
  const { address } = await startProxy(t, { connect: upstream.address })
  t.match(await logIn(t, address), { ok: false, error: { errno: 1158 } })
  await checkGoodLogin(t, address)
  await checkGoodLogin(t, address)
  await checkEnded(t, upstream)
})
