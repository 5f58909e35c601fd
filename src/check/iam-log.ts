/**
 * The log iam-db-auth-error, where RDS writes why it has refused a token.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Troubleshooting.html
 */
import type { RDSClient } from '@aws-sdk/client-rds'
import { callAws, clientSettings } from '../aws/api.ts'
import { shell } from '../aws/cli-commands.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { redact } from '../aws/redact.ts'
import { asProxyError } from '../errors.ts'
import { shellWord } from '../shell-quote.ts'
import { type Context, type Database, regionOfDatabase } from './context.ts'
import type { Advice } from './steps.ts'

const LOG = 'iam-db-auth-error'

/** A part of the name: AWS does not document the names of the files. */
const FILE_NAME_PART = 'iam-db-auth'

const NUMBER_OF_LINES = 200

/** Members of a cluster whose log is read, the writer first. */
const MAX_INSTANCES = 3

/** How often, and after which milliseconds, to look for a line that is not there yet. */
const ATTEMPTS = 3
const RETRY_AFTER_MS = 2_000

/** By the error code in a line. */
const MEANINGS: Readonly<Record<string, string>> = {
  InvalidToken:
    'The token is not valid for this database: other keys or a wrong host, port or region signed it, or something cut it.',
  ExpiredToken: 'The token was older than 15 minutes when it arrived: check the clock of this machine.',
  NotAuthorized:
    "The IAM policies of the caller in the line do not allow rds-db:connect for this user and this database's resource id.",
  ThrottlingException: 'More than 200 logins per second: use fewer and longer sessions, such as those of a pool.',
  InternalError: 'AWS itself failed to check the token. Retry, and ask AWS Support if it persists.',
}

/** What the log says about the user of this login, with --aws, or how to read it. Never rejects. @param retryAfter for tests */
export async function adviseFromIamLog(context: Context, retryAfter = RETRY_AFTER_MS): Promise<Advice[]> {
  const { aws, rdsDatabase } = context
  if (!rdsDatabase || rdsDatabase.kind === 'proxy') return []
  if (!aws) return [howToRead(context, rdsDatabase, `RDS writes the reason to its log ${LOG}; check --aws reads it.`)]
  try {
    const found = await findLine(context, rdsDatabase, retryAfter)
    if (!found) return [howToRead(context, rdsDatabase, `The log ${LOG} of RDS has no line about ${context.user} yet.`)]
    const { instance, line } = found
    const code = /Error\s+Code:\s*(\w+)/.exec(line)?.[1] ?? ''
    const meaning = MEANINGS[code] ?? ''
    return [{ text: `The last line about ${context.user} in the log ${LOG} of ${instance}: ${redact(line)}` }].concat(
      meaning ? { text: meaning } : [],
    )
  } catch (error) {
    return [howToRead(context, rdsDatabase, `The log ${LOG} of RDS has the reason. ${asProxyError(error).message}.`)]
  }
}

function howToRead(context: Context, { kind, identifier }: Database, text: string): Advice {
  const member = kind === 'cluster' ? 'INSTANCE_OF_THE_CLUSTER' : shellWord(identifier)
  return {
    text: `${text} To list its files, or read the log group /aws/rds/${kind}/${identifier}/${LOG} if it is exported to CloudWatch:`,
    snippet: shell(
      'aws rds describe-db-log-files',
      `--region ${regionOfDatabase(context)}`,
      `--db-instance-identifier ${member}`,
      `--filename-contains ${FILE_NAME_PART}`,
    ),
  }
}

interface Found {
  instance: string
  line: string
}

async function findLine(context: Context, database: Database, retryAfter: number): Promise<Found | undefined> {
  const { credentials, profile, user, stop } = context
  const { RDSClient } = await import('../aws/sdk-rds.ts')
  const client = new RDSClient(clientSettings(regionOfDatabase(context), credentials, createAwsAgent({ profile })))
  try {
    const instances = await instancesOf(client, database)
    for (let attempt = 1; ; attempt++) {
      for (const instance of instances) {
        const line = (await readLog(client, instance)).findLast(text => isAbout(text, user))
        if (line !== undefined) return { instance, line }
      }
      if (attempt === ATTEMPTS || stop.aborted) return undefined
      await new Promise(resolve => setTimeout(resolve, retryAfter))
    }
  } finally {
    client.destroy()
  }
}

async function instancesOf(client: RDSClient, { kind, identifier }: Database): Promise<string[]> {
  if (kind === 'instance') return [identifier]
  const { DescribeDBClustersCommand } = await import('../aws/sdk-rds.ts')
  const command = new DescribeDBClustersCommand({ DBClusterIdentifier: identifier })
  const answer = await callAws('rds:DescribeDBClusters', () => client.send(command))
  const members = answer?.DBClusters?.[0]?.DBClusterMembers ?? []
  const [writers, readers] = [true, false].map(isWriter => members.filter(each => !!each.IsClusterWriter === isWriter))
  return [...writers!, ...readers!].flatMap(each => each.DBInstanceIdentifier ?? []).slice(0, MAX_INSTANCES)
}

/** The last lines of the newest file. */
async function readLog(client: RDSClient, instance: string): Promise<string[]> {
  const { DescribeDBLogFilesCommand, DownloadDBLogFilePortionCommand } = await import('../aws/sdk-rds.ts')
  const list = new DescribeDBLogFilesCommand({ DBInstanceIdentifier: instance, FilenameContains: FILE_NAME_PART })
  const files = await callAws('rds:DescribeDBLogFiles', () => client.send(list))
  const newest = files?.DescribeDBLogFiles?.sort((a, b) => (b.LastWritten ?? 0) - (a.LastWritten ?? 0))[0]
  if (!newest?.LogFileName) return []
  const { LogFileName } = newest
  // Without a marker, these are the most recent lines.
  // https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DownloadDBLogFilePortion.html
  const portion = { DBInstanceIdentifier: instance, LogFileName, NumberOfLines: NUMBER_OF_LINES }
  const command = new DownloadDBLogFilePortionCommand(portion)
  const answer = await callAws('rds:DownloadDBLogFilePortion', () => client.send(command))
  return (answer?.LogFileData ?? '').split(/\r?\n/)
}

/** Whether a line is about a refused token of `user`. AWS's examples have the name with quotes and without. */
function isAbout(line: string, user: string): boolean {
  const match = /Failed to auth\w+ the connection request for user (?:'([^']*)'|(\S+)) /.exec(line)
  return match !== null && (match[1] ?? match[2]) === user
}
