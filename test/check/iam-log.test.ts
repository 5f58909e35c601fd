import { type Test, test } from 'tap'
import { redact } from '../../src/aws/redact.ts'
import type { Context, Database } from '../../src/check/context.ts'
import { adviseFromIamLog } from '../../src/check/iam-log.ts'
import { type AwsApi, startAwsApi } from '../support/aws-api.ts'
import { setEnvironment } from '../support/check.ts'
import { testEndpoint } from '../support/endpoint.ts'

const CALLER = 'arn:aws:sts::123456789012:assumed-role/rds-connect/session'

/** Lines as in AWS's documentation. */
const LINES = [
  "2025-09-22T12:02:30,806 [ERROR] Failed to authenticate the connection request for user 'app' because the provided token is malformed or otherwise invalid. (Status Code: 400, Error Code: InvalidToken)",
  `2025-09-22T12:02:31,806 [ERROR] Failed to authorize the connection request for user app because the IAM policy assumed by the caller '${CALLER}' is not authorized to perform \`rds-db:connect\` on the DB instance. (Status Code: 403, Error Code:NotAuthorized)`,
  "2025-09-22T12:02:51,954 [ERROR] Failed to authenticate the connection request for user 'app2' because the token age is longer than 15 minutes. (Status Code: 400, Error Code:ExpiredToken)",
]

const INSTANCE: Database = {
  kind: 'instance',
  identifier: 'database-1',
  resourceId: 'db-ABC',
  iamAuthentication: true,
  status: 'available',
  ca: undefined,
  engine: 'mysql',
}

function files(...names: string[]): string {
  const file = (name: string, index: number) =>
    `<DescribeDBLogFilesDetails><LogFileName>${name}</LogFileName><LastWritten>${index}</LastWritten><Size>9</Size></DescribeDBLogFilesDetails>`
  return `<DescribeDBLogFiles>${names.map(file).join('')}</DescribeDBLogFiles>`
}

const portion = (lines: string[]) =>
  `<LogFileData>${lines.join('\n').replaceAll('<', '&lt;')}</LogFileData><Marker>1</Marker><AdditionalDataPending>false</AdditionalDataPending>`

async function setUp(t: Test, answers: AwsApi['answers'], changes: Partial<Context> = {}) {
  setEnvironment(t)
  const api = await startAwsApi(t, answers)
  const context = {
    aws: true,
    rdsDatabase: INSTANCE,
    user: 'app',
    profile: undefined,
    target: { endpoint: testEndpoint },
    credentials: async () => ({ accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret' }),
    stop: new AbortController().signal,
    ...changes,
  } as unknown as Context
  return { api, advise: () => adviseFromIamLog(context, 0) }
}

test('the last line about the user, and what it means', async t => {
  const { api, advise } = await setUp(t, {
    DescribeDBLogFiles: files('a/iam-db-auth-error.log.1', 'a/iam-db-auth-error.log'),
    DownloadDBLogFilePortion: portion(LINES),
  })
  const [line, meaning] = await advise()
  t.ok(line!.text.startsWith('The last line about app in the log iam-db-auth-error of database-1: 2025-09-22T12:02:31'))
  t.ok(line!.text.endsWith(redact(LINES[1]!)))
  t.match(line!.text, 'assumed-role/rds-connect', 'the caller is shown')
  t.match(meaning!.text, /do not allow rds-db:connect/)
  t.match(api.requests, [
    {
      action: 'DescribeDBLogFiles',
      parameters: { DBInstanceIdentifier: 'database-1', FilenameContains: 'iam-db-auth' },
    },
    {
      action: 'DownloadDBLogFilePortion',
      parameters: { LogFileName: 'a/iam-db-auth-error.log', NumberOfLines: '200' },
    },
  ])
})

test('the log of a cluster is that of its instances, the writer first', async t => {
  const member = (name: string, isWriter: boolean) =>
    `<DBClusterMember><DBInstanceIdentifier>${name}</DBInstanceIdentifier><IsClusterWriter>${isWriter}</IsClusterWriter></DBClusterMember>`
  const members = `<DBClusterMembers>${member('shop-1', false)}${member('shop-2', true)}</DBClusterMembers>`
  const rdsDatabase: Database = { ...INSTANCE, kind: 'cluster', identifier: 'shop' }
  const answers: AwsApi['answers'] = {
    DescribeDBClusters: `<DBClusters><DBCluster>${members}</DBCluster></DBClusters>`,
    DescribeDBLogFiles: files('iam-db-auth-error.log'),
    DownloadDBLogFilePortion: ({ DBInstanceIdentifier }) => portion(DBInstanceIdentifier === 'shop-1' ? LINES : []),
  }
  const { api, advise } = await setUp(t, answers, { rdsDatabase, user: 'app2' })
  const [line, meaning] = await advise()
  t.match(line!.text, /of shop-1: 2025-09-22T12:02:51,954/)
  t.match(meaning!.text, /older than 15 minutes/)
  const read = api.requests.filter(({ action }) => action === 'DescribeDBLogFiles')
  t.same(
    read.map(({ parameters }) => parameters['DBInstanceIdentifier']),
    ['shop-2', 'shop-1'],
  )
})

test('a line that comes later is found', async t => {
  let reads = 0
  const { advise } = await setUp(t, {
    DescribeDBLogFiles: () => (++reads < 3 ? files() : files('iam-db-auth-error.log')),
    DownloadDBLogFilePortion: portion(LINES),
  })
  t.match((await advise())[0]!.text, /The last line about app/)
})

test('without a line, permission or --aws: how to read the log', async t => {
  const none = await setUp(t, { DescribeDBLogFiles: files() })
  const [advice] = await none.advise()
  t.match(advice!.text, /has no line about app yet.*\/aws\/rds\/instance\/database-1\/iam-db-auth-error/)
  t.match(
    advice!.snippet,
    /describe-db-log-files[\s\S]*--db-instance-identifier database-1[\s\S]*--filename-contains iam-db-auth/,
  )
  t.equal(none.api.requests.length, 3)
  const denied = await setUp(t, {})
  t.match((await denied.advise())[0]!.text, /has the reason\. rds:DescribeDBLogFiles failed/)
  const unasked = await setUp(t, {}, { aws: false })
  t.match((await unasked.advise())[0]!.text, /check --aws reads it/)
  t.equal(unasked.api.requests.length, 0)
})

test('of RDS Proxy and unknown databases, nothing is said', async t => {
  for (const rdsDatabase of [null, { ...INSTANCE, kind: 'proxy' as const }]) {
    const { advise } = await setUp(t, {}, { rdsDatabase })
    t.same(await advise(), [])
  }
})
