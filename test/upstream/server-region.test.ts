/** Logins to an Aurora global endpoint: each is signed for the region that the server's certificate names. */
import { type Test, test } from 'tap'
import { createConfirmMember } from '../../src/aws/global-members.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { type AwsApi, startAwsApi } from '../support/aws-api.ts'
import { setEnvironment } from '../support/check.ts'
import { GLOBAL, namesIn } from '../support/global-database.ts'
import { connectMysql, logIn, startProxy } from '../support/proxy.ts'
import { until } from '../support/raw-client.ts'
import {
  ACCESS_DENIED,
  OK,
  refuseLogin,
  type Script,
  serveCommands,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

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

/** The names on a certificate of a cluster, if AWS does not put the global endpoint on it. */
const CLUSTER = 'shop.cluster-abcdefghijkl.eu-west-1.rds.amazonaws.com'
const withoutGlobal = ['shop-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', CLUSTER]

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_GlobalCluster.html */
function globalCluster(region: string): string {
  return `<GlobalClusters><GlobalClusterMember><Endpoint>${GLOBAL}</Endpoint><GlobalClusterMembers>
    <GlobalClusterMember><DBClusterArn>arn:aws:rds:us-east-2:123456789012:cluster:other</DBClusterArn></GlobalClusterMember>
    <GlobalClusterMember><DBClusterArn>arn:aws:rds:${region}:123456789012:cluster:shop</DBClusterArn></GlobalClusterMember>
  </GlobalClusterMembers></GlobalClusterMember></GlobalClusters>`
}

function cluster(endpoint: string): string {
  return `<DBClusters><DBCluster><Endpoint>${endpoint}</Endpoint></DBCluster></DBClusters>`
}

test('a certificate that names only a cluster: RDS confirms that it is one of the global database', async t => {
  setEnvironment(t)
  const api = await startAwsApi(t, {
    DescribeGlobalClusters: globalCluster('eu-west-1'),
    DescribeDBClusters: cluster(CLUSTER),
  })
  const writer = await startWriter(withoutGlobal)
  const { address } = await start(t, [writer.script])
  await Promise.all([query(address), query(address)])
  await query(address)
  t.same(new Set(writer.tokens), new Set([`${GLOBAL}:3306 eu-west-1`]))
  t.equal(writer.tokens.length, 3)
  t.same(
    api.requests.map(({ action, parameters }) => [action, Object.values(parameters)[0]]),
    [
      ['DescribeGlobalClusters', 'shop'],
      ['DescribeDBClusters', 'arn:aws:rds:eu-west-1:123456789012:cluster:shop'],
    ],
    'RDS is asked once',
  )
})

test('a certificate that names neither the global endpoint nor one of its clusters: no token is sent', async t => {
  const cases: [name: string, names: string[], answers: AwsApi['answers'], says: RegExp][] = [
    [
      'a cluster of another global database',
      withoutGlobal,
      { DescribeGlobalClusters: globalCluster('us-west-1') },
      /RDS does not count shop\.cluster-/,
    ],
    [
      'another cluster of the same name',
      withoutGlobal,
      {
        DescribeGlobalClusters: globalCluster('eu-west-1'),
        DescribeDBClusters: cluster(CLUSTER.replace('abcdefghijkl', 'zzzzzzzzzzzz')),
      },
      /RDS does not count/,
    ],
    ['RDS does not answer', withoutGlobal, {}, /rds:DescribeGlobalClusters failed/],
    ['no cluster', withoutGlobal.slice(0, 1), {}, /does not name one cluster/],
    ['two clusters', [CLUSTER, CLUSTER.replace('shop', 'other')], {}, /does not name one cluster/],
  ]
  for (const [name, names, answers, says] of cases) {
    await t.test(name, async t => {
      setEnvironment(t)
      await startAwsApi(t, answers)
      const writer = await startWriter(names)
      const { address } = await start(t, [writer.script])
      const { error } = await logIn(t, address)
      t.match(error, { errno: 1043, message: new RegExp(`does not name ${GLOBAL}, it names `) })
      t.match(error?.message, says)
      t.same(writer.tokens, [])
    })
  }
})

test('without credentials to ask RDS with: the error is theirs; RDS is asked again soon, but not by each login', async t => {
  setEnvironment(t)
  const api = await startAwsApi(t, { DescribeGlobalClusters: { error: 'InvalidClientTokenId' } })
  const writer = await startWriter(withoutGlobal)
  const { address } = await start(t, [writer.script])
  const { error } = await logIn(t, address)
  t.match(error, { errno: 1105, message: /rds:DescribeGlobalClusters failed/ })
  t.notMatch(error?.message, /does not name/)
  t.same(writer.tokens, [])
  api.requests.length = 0
  const confirm = createConfirmMember(GLOBAL, async () => ({ accessKeyId: 'a', secretAccessKey: 'b' }), undefined)!
  await Promise.allSettled([confirm(withoutGlobal), confirm(withoutGlobal)])
  await t.rejects(confirm(withoutGlobal), { code: 'CREDENTIALS_REJECTED' })
  t.equal(api.requests.length, 1)
  Object.assign(api.answers, {
    DescribeGlobalClusters: globalCluster('eu-west-1'),
    DescribeDBClusters: cluster(CLUSTER),
  })
  await until('a login succeeds', async () => !(await logIn(t, address)).error)
  t.ok(writer.tokens.length > 0)
})

test('RDS is asked only about a valid certificate, and only of a global endpoint', async t => {
  setEnvironment(t)
  const api = await startAwsApi(t)
  const authority = await createAuthority('trusted by nobody')
  const certificate = await authority.issue({ names: withoutGlobal })
  const unknown = await startScriptedUpstream(t, [refuseLogin(certificate)])
  const { address } = await startProxy(t, { rdsEndpoint: GLOBAL, connect: unknown.address })
  t.match((await logIn(t, address)).error, { message: /was not issued by a trusted CA/ })

  const other = await startWriter(withoutGlobal)
  const upstream = await startScriptedUpstream(t, [other.script])
  const single = await startProxy(t, { connect: upstream.address })
  t.match((await logIn(t, single.address)).error, { message: /does not name database-1/ })
  t.same(api.requests, [])
})
