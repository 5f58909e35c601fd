/** Logins to an Aurora global endpoint: each is signed for the region that the server's certificate names. */
import { type Test, test } from 'tap'
import { regionOfNames } from '../../src/upstream/server-region.ts'
import { connectMysql, logIn, startProxy } from '../support/proxy.ts'
import {
  ACCESS_DENIED,
  OK,
  type Script,
  serveCommands,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const GLOBAL = 'shop.global-abcdefghijkl.global.rds.amazonaws.com'

/** The names on the certificate of a cluster of the global database. */
function namesIn(region: string): string[] {
  return [
    GLOBAL,
    `shop-1.abcdefghijkl.${region}.rds.amazonaws.com`,
    `shop.cluster-abcdefghijkl.${region}.rds.amazonaws.com`,
    `*.cluster-custom-abcdefghijkl.${region}.rds.amazonaws.com`,
  ]
}

/** A writer with a certificate for `names`; the scopes and hosts of the tokens that it received. */
async function startWriter(names: string[]): Promise<{ script: Script; tokens: string[] }> {
  const { authority } = await testCertificates()
  const certificate = await authority.issue({ names })
  const tokens: string[] = []
  const script: Script = async peer => {
    const { authResponse, authPlugin } = await untilResponse(peer, {}, certificate)
    if (authPlugin !== 'mysql_clear_password') return peer.send(ACCESS_DENIED)
    const url = new URL(`https://${authResponse.toString().replace('\0', '')}`)
    tokens.push(`${url.host} ${url.searchParams.get('X-Amz-Credential')?.split('/')[2]}`)
    peer.send(OK)
    await serveCommands(peer)
  }
  return { script, tokens }
}

async function start(t: Test, scripts: Script[], region?: string) {
  const upstream = await startScriptedUpstream(t, scripts)
  return await startProxy(t, { rdsEndpoint: GLOBAL, connect: upstream.address, region })
}

async function query(address: Parameters<typeof connectMysql>[0]): Promise<void> {
  const connection = await connectMysql(address)
  await connection.end()
}

test('the region is that of the server, also after a switchover', async t => {
  const before = await startWriter(namesIn('eu-west-1'))
  const after = await startWriter(namesIn('us-east-2'))
  const { address, proxy } = await start(t, [before.script, before.script, after.script])
  for (let logins = 0; logins < 3; logins++) await query(address)
  // The port is that of the endpoint, also if another one is dialled.
  t.same(before.tokens, [`${GLOBAL}:3306 eu-west-1`, `${GLOBAL}:3306 eu-west-1`])
  t.same(after.tokens, [`${GLOBAL}:3306 us-east-2`])
  t.equal(proxy.status().region, undefined)
})

test('a region that is given counts', async t => {
  const writer = await startWriter(namesIn('us-east-2'))
  const { address } = await start(t, [writer.script], 'eu-west-1')
  await query(address)
  t.same(writer.tokens, [`${GLOBAL}:3306 eu-west-1`])
})

test('a certificate without a region, or with two: no token is sent', async t => {
  const cases = [[GLOBAL], [...namesIn('eu-west-1'), ...namesIn('us-east-2')]]
  for (const names of cases) {
    const writer = await startWriter(names)
    const { address } = await start(t, [writer.script])
    const { error } = await logIn(t, address)
    t.match(error, { errno: 1105, message: /without an AWS region, or with several.*Set the option region/ })
    t.same(writer.tokens, [])
  }
})

test('a certificate that does not name the global endpoint: no token is sent', async t => {
  const writer = await startWriter(namesIn('eu-west-1').slice(1))
  const { address } = await start(t, [writer.script])
  const { error } = await logIn(t, address)
  t.match(error, { errno: 1043, message: new RegExp(`does not name ${GLOBAL}, it names .*shop-1`) })
  t.same(writer.tokens, [])
})

test('regionOfNames', async t => {
  t.equal(regionOfNames(namesIn('eu-west-1')), 'eu-west-1')
  t.equal(regionOfNames(['SHOP.cluster-abc.EU-WEST-1.rds.amazonaws.com']), 'eu-west-1')
  t.equal(regionOfNames([GLOBAL]), undefined)
  t.equal(regionOfNames([]), undefined)
})
