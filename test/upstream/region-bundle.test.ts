/** The downloaded CA certificates of a region, on a clock that stands still and with a download that the test answers. */
import { once } from 'node:events'
import { chmod, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { loggerOf } from '../../src/log.ts'
import { bundleFile, readBundle, writeBundle } from '../../src/upstream/bundle-cache.ts'
import { builtInRoots, parseBundle, type RdsRoot } from '../../src/upstream/rds-bundle.ts'
import { createRegionBundle, type RegionBundleOptions, saveRegion } from '../../src/upstream/region-bundle.ts'
import { createTestClock } from '../support/clock.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'

const REGION = 'il-central-1'
const HOUR_MS = 3_600_000
const { root } = createRdsAuthority(REGION)
const another = createRdsAuthority(REGION, { commonName: `Amazon RDS ${REGION} Root CA RSA4096 G2` }).root
const rootsIn = (...pems: string[]) => parseBundle(pems.join(''), 'test').roots
const namesOf = (roots: readonly RdsRoot[]) =>
  roots.map(({ name }) => name.slice(`Amazon RDS ${REGION} Root CA `.length))

interface Download {
  region: string
  answer(text: string): void
  fail(error: Error): void
}

function start(t: Test, options: Partial<RegionBundleOptions> = {}) {
  const clock = createTestClock(1_000)
  const folder = join(t.testdir(), 'cache')
  const lines: string[] = []
  const fieldsOfLines: object[] = []
  const downloads: Download[] = []
  const at = (level: string) => (fields: object, message: string) => {
    const { code = '', hint } = fields as { code?: string; hint?: string }
    fieldsOfLines.push(fields)
    lines.push([level, code, message].filter(Boolean).join(' '))
    if (code) t.type(hint, 'string')
  }
  const bundle = createRegionBundle({
    region: REGION,
    mode: 'auto',
    folder,
    log: loggerOf(at),
    clock,
    fetchBundle: region =>
      new Promise((answer, fail) => {
        downloads.push({ region, answer, fail })
      }),
    ...options,
  })
  return { bundle, clock, folder, lines, fields: fieldsOfLines, downloads }
}

test('cached: the file is read again when it changes', async t => {
  const { bundle, folder, lines, downloads } = start(t, { mode: 'cached' })
  t.equal(bundle.isAutomatic, false)
  await bundle.refresh()
  t.same([bundle.roots(), bundle.isKnown()], [[], false])
  await writeBundle(folder, REGION, rootsIn(root))
  t.same(bundle.roots(), [], 'as of the last refresh')
  await Promise.all([bundle.refresh(), bundle.refresh()])
  t.same([namesOf(bundle.roots()), bundle.isKnown()], [['ECC384 G1'], true])
  await writeBundle(folder, REGION, rootsIn(root, another))
  await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1', 'RSA4096 G2'])
  await rm(bundleFile(folder, REGION))
  await bundle.refresh()
  await bundle.refresh()
  t.same([bundle.roots(), bundle.isKnown()], [[], false])
  t.equal(bundle.fetch(), false)
  t.same(downloads, [])
  t.same(lines, [
    `info trusts 1 downloaded CA certificates of ${REGION}, from ${folder}`,
    `info trusts 2 downloaded CA certificates of ${REGION}, from ${folder}`,
    `info no longer trusts downloaded CA certificates of ${REGION}, from ${folder}`,
  ])
})

test('the file is looked at once a second, unless a CA was unknown', async t => {
  const { bundle, clock } = start(t, { mode: 'cached' })
  t.notOk(bundle.isFresh(), 'before the first look')
  await bundle.refresh()
  clock.advance(999)
  t.ok(bundle.isFresh())
  clock.advance(1)
  t.notOk(bundle.isFresh())
  await bundle.refresh()
  t.ok(bundle.isFresh())
  bundle.expire()
  t.notOk(bundle.isFresh())
})

test('a download that runs, and one that has just ended, is not fresh', async t => {
  const { bundle, downloads } = start(t)
  await bundle.refresh()
  t.ok(bundle.isFresh())
  t.ok(bundle.fetch())
  t.notOk(bundle.isFresh())
  downloads[0]!.fail(new Error('no network'))
  const refreshed = bundle.refresh()
  t.notOk(bundle.isFresh())
  await refreshed
  t.ok(bundle.isFresh())
})

test('an unusable file gets one warning, and what was trusted before stays', async t => {
  const { bundle, folder, lines } = start(t, { mode: 'cached' })
  await writeBundle(folder, REGION, rootsIn(root))
  await bundle.refresh()
  await writeBundle(folder, REGION, rootsIn(root, another))
  await chmod(folder, 0o777)
  await bundle.refresh()
  t.match(lines.slice(1), [
    /^warn CONFIG_INVALID bundle cache: .* can be changed by other users.*; the file is not used$/,
  ])
  for (let time = 0; time < 3; time++) await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1'])
  t.equal(lines.length, 2)
  await chmod(folder, 0o755)
  await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1', 'RSA4096 G2'], 'without a change of the file')
  await writeBundle(folder, REGION, rootsIn(root))
  await chmod(folder, 0o777)
  await bundle.refresh()
  t.equal(lines.length, 4, 'after a usable one, the same problem gets a warning again')
})

test('off, and without a folder: nothing is read', async t => {
  const off = start(t, { mode: 'off' })
  await writeBundle(off.folder, REGION, rootsIn(root))
  await off.bundle.refresh()
  t.same([off.bundle.roots(), off.bundle.fetch()], [[], false])
  const { bundle } = start(t, { mode: 'cached', folder: undefined })
  await bundle.refresh()
  t.same(bundle.roots(), [])
})

test('a built-in region is known', async t => {
  t.equal(start(t, { region: 'eu-west-1' }).bundle.isKnown(), true)
})

test('auto: one download, and a refresh waits for it', async t => {
  const { bundle, folder, lines, downloads, clock } = start(t)
  t.equal(bundle.isAutomatic, true)
  t.equal(bundle.fetch(), true)
  t.equal(bundle.fetch(), true, 'still running')
  t.same(
    downloads.map(({ region }) => region),
    [REGION],
  )
  let isRefreshed = false
  const refreshed = bundle.refresh().then(() => {
    isRefreshed = true
  })
  await new Promise(setImmediate)
  t.equal(isRefreshed, false)
  downloads[0]!.answer(root)
  await refreshed
  t.same(namesOf(bundle.roots()), ['ECC384 G1'])
  t.equal(await readFile(bundleFile(folder, REGION), 'utf8'), root)
  t.equal(bundle.fetch(), false, 'less than an hour ago')
  clock.advance(HOUR_MS)
  t.equal(bundle.fetch(), true)
  t.equal(downloads.length, 2)
  t.same(lines, [
    `info downloaded the CA certificates of ${REGION} from AWS`,
    `info trusts 1 downloaded CA certificates of ${REGION}, from ${folder}`,
  ])
  downloads[1]!.answer(root)
  await bundle.refresh()
})

test('auto: endpoints of a process share the download', async t => {
  const first = start(t)
  const second = start(t, { folder: first.folder })
  t.equal(first.bundle.fetch(), true)
  t.equal(second.bundle.fetch(), true)
  first.downloads[0]!.answer(root)
  await second.bundle.refresh()
  t.same(namesOf(second.bundle.roots()), ['ECC384 G1'])
  t.same(second.downloads, [])
})

test('auto: with a CA of the region, an hour passes after a failure until the next attempt, and the file stays', async t => {
  const { bundle, folder, lines, downloads, clock } = start(t)
  await writeBundle(folder, REGION, rootsIn(root))
  await bundle.refresh()
  bundle.fetch()
  downloads[0]!.answer('<html>Log in</html>')
  await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1'])
  t.match(
    lines[1],
    /^warn TRUST_UPDATE_FAILED https:.* is a web page\..*; the next attempt is in an hour at the earliest$/,
  )
  clock.advance(HOUR_MS - 1)
  t.equal(bundle.fetch(), false)
  clock.advance(1)
  t.equal(bundle.fetch(), true)
  downloads[1]!.answer(createRdsAuthority('eu-west-1').root)
  await bundle.refresh()
  t.same(namesOf((await readBundle(folder, REGION)).roots), ['ECC384 G1'])
  t.match(lines.at(-1), /another region/)
})

test('auto: while the region has no CA, the next attempt after a failure is in a minute; the log says so once', async t => {
  const { bundle, lines, downloads, clock } = start(t)
  for (let minute = 0; minute < 3; minute++) {
    t.equal(bundle.fetch(), true)
    downloads[minute]!.fail(new ProxyError('TRUST_UPDATE_FAILED', 'ENOTFOUND'))
    await bundle.refresh()
    clock.advance(59_999)
    t.equal(bundle.fetch(), false)
    clock.advance(1)
  }
  t.same(lines, ['warn TRUST_UPDATE_FAILED ENOTFOUND; the next attempt is in a minute at the earliest'])
  bundle.fetch()
  downloads[3]!.answer(root)
  await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1'])
  clock.advance(60_000)
  t.equal(bundle.fetch(), false, 'after a success, an hour passes')
  clock.advance(HOUR_MS)
  bundle.fetch()
  downloads[4]!.fail(new ProxyError('TRUST_UPDATE_FAILED', 'ENOTFOUND'))
  await bundle.refresh()
  t.match(lines.at(-1), /ENOTFOUND; the next attempt is in an hour/, 'and the same failure is in the log again')
})

test('auto: without the choice of the caller, the bundle comes from AWS, through HTTPS_PROXY', async t => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.on('connection', socket => socket.end('HTTP/1.1 403 Not this host\r\n\r\n'))
  t.teardown(() => server.close())
  t.intercept(process, 'env', { value: { HTTPS_PROXY: `http://127.0.0.1:${port}` } })
  const { bundle, lines } = start(t, { fetchBundle: undefined })
  t.equal(bundle.fetch(), true)
  await bundle.refresh()
  t.match(lines, [/^warn FORWARD_PROXY_REFUSED .* to truststore\.pki\.rds\.amazonaws\.com:443: 403 Not this host/])
})

test('auto: what cannot be saved stays in memory', async t => {
  const { bundle, folder, lines, downloads } = start(t)
  await writeBundle(folder, REGION, rootsIn(root))
  await rm(bundleFile(folder, REGION))
  await chmod(folder, 0o777)
  bundle.fetch()
  downloads[0]!.answer(root + another)
  await bundle.refresh()
  t.same(namesOf(bundle.roots()), ['ECC384 G1', 'RSA4096 G2'])
  t.match(lines[1], /^warn CONFIG_INVALID bundle cache: .* other users.*; this process keeps them in memory$/)

  const homeless = start(t, { folder: undefined, region: 'mx-central-1' })
  homeless.bundle.fetch()
  homeless.downloads[0]!.answer(createRdsAuthority('mx-central-1').root)
  await homeless.bundle.refresh()
  t.equal(homeless.bundle.roots().length, 1)
  t.same(homeless.lines, ['info downloaded the CA certificates of mx-central-1 from AWS'])
  const cached = start(t, { folder: undefined, region: 'mx-central-1', mode: 'cached' })
  t.same(cached.bundle.roots(), [], 'those of a bundle that does not download count nowhere else')
})

test('auto: of a built-in region, only what is new stays in memory', async t => {
  const region = 'eu-west-2'
  const builtIn = [...builtInRoots().values()].filter(root => root.region === region)
  const added = createRdsAuthority(region, { commonName: `Amazon RDS ${region} Root CA ECC384 G9` }).root
  const { bundle, downloads, fields } = start(t, { folder: undefined, region })
  bundle.fetch()
  downloads[0]!.answer([...builtIn.map(({ pem }) => pem), added].join(''))
  await bundle.refresh()
  t.same(
    bundle.roots().map(({ name }) => name),
    [`Amazon RDS ${region} Root CA ECC384 G9`],
  )
  t.same(fields, [{ region, added: [`Amazon RDS ${region} Root CA ECC384 G9`] }], 'the log names it')
})

test('auto: what was saved counts only as long as its file is there', async t => {
  const { bundle, folder, downloads } = start(t)
  bundle.fetch()
  downloads[0]!.answer(root)
  await bundle.refresh()
  t.equal(bundle.roots().length, 1)
  await rm(bundleFile(folder, REGION))
  await bundle.refresh()
  t.same(bundle.roots(), [])
})

test('auto: nothing is downloaded for partitions without a public trust store', async t => {
  const { bundle, downloads } = start(t, { region: 'eusc-de-east-1' })
  t.same([bundle.isAutomatic, bundle.fetch(), bundle.isKnown()], [false, false, false])
  t.same(downloads, [])
})

test('an update says what is new and what was removed, and saves nothing that is built in', async t => {
  const folder = join(t.testdir(), 'cache')
  const first = await saveRegion(REGION, folder, rootsIn(root))
  t.same([first.isSaved, first.problem, first.removed], [true, undefined, []])
  t.same(namesOf(first.isNew), ['ECC384 G1'])
  const second = await saveRegion(REGION, folder, rootsIn(another))
  t.same([namesOf(second.isNew), namesOf(second.removed)], [['RSA4096 G2'], ['ECC384 G1']])
  const third = await saveRegion(REGION, folder, rootsIn(another))
  t.same([third.isNew, third.removed, third.isSaved], [[], [], true])

  const builtIn = [...builtInRoots().values()].filter(({ region }) => region === 'eu-west-1')
  t.ok(builtIn.length > 0)
  await writeBundle(folder, 'eu-west-1', rootsIn(createRdsAuthority('eu-west-1').root))
  const known = await saveRegion('eu-west-1', folder, builtIn)
  t.same([known.isNew, known.isSaved, known.problem], [[], false, undefined])
  t.equal(known.removed.length, 1)
  t.same((await readBundle(folder, 'eu-west-1')).roots, [])
})

test('close() ends a download that no other endpoint needs', async t => {
  const stops: AbortSignal[] = []
  const fetchBundle = (_region: string, stop: AbortSignal) =>
    new Promise<string>((_answer, fail) => {
      stops.push(stop)
      stop.addEventListener('abort', () => fail(stop.reason))
    })
  const first = start(t, { fetchBundle })
  const second = start(t, { folder: first.folder, fetchBundle })
  t.same([first.bundle.fetch(), second.bundle.fetch()], [true, true])
  first.bundle.close()
  first.bundle.close()
  t.notOk(stops[0]!.aborted, 'the second one waits for it')
  second.bundle.close()
  t.ok(stops[0]!.aborted)
  await second.bundle.refresh()
  t.same([...first.lines, ...second.lines], [], 'no warning of a failure')
  t.equal(second.bundle.fetch(), true, 'another proxy may download at once')
  t.equal(stops.length, 2)
  second.bundle.close()
})
