/** The table of `list` for people: as wide as the terminal at most, but words stay whole, so that they can be copied. */
import { enableIamCommand } from '../aws/cli-commands.ts'
import type { ErrorCode } from '../error-codes.ts'
import { createStyler, wrap } from '../text.ts'
import { nextCommand } from './document.ts'
import type { Found, FoundDatabase, FoundEndpoint, FoundLoadBalancer, Problem, Reach, Scope } from './found.ts'

export interface TableOptions {
  /** in characters */
  width: number
  colours: boolean
  /** whether regions were given, so that `add` needs them too */
  withRegion: boolean
}

/** Longer names have their own line. */
const MAX_NAME_WIDTH = 24

/** Below that, the last column is on its own line. */
const MIN_LAST_WIDTH = 12

const GAP = '  '
const HEADINGS = ['NAME', 'ENGINE', 'IAM', 'NETWORK', 'REACHABLE'] as const

type Cells = [name: string, engine: string, iam: string, network: string, reach: string]

interface Row {
  cells: Cells
  next: string
}

/** Ends with a line end. */
export function toTable(found: Found, options: TableOptions): string {
  const { colours, width } = options
  const style = createStyler(colours)
  const listed = found.databases.filter(({ cluster }) => cluster === undefined)
  const sections = scopesOf(listed).map(databases => {
    const rows = databases.flatMap(database => rowsOf(database, options))
    return [style('bold', titleOf(databases[0]!)), '', ...layOut(rows, width, style)].join('\n')
  })
  const notes = [
    ...iamNotes(listed, width),
    ...memberNotes(found.databases),
    ...rejectionNotes(found.rejectedRegions, width),
    ...problemNotes(found.problems, width, style),
  ]
  if (listed.length === 0) sections.push(nothingFound(found))
  return `${[...sections, ...notes].join('\n\n')}\n`
}

/** Databases of the same profile and region together, in the order of the list. */
function scopesOf(databases: readonly FoundDatabase[]): FoundDatabase[][] {
  const scopes = new Map<string, FoundDatabase[]>()
  for (const database of databases) {
    const key = JSON.stringify([database.profile, database.region])
    scopes.set(key, [...(scopes.get(key) ?? []), database])
  }
  return [...scopes.values()]
}

function titleOf({ profile, region, account }: FoundDatabase): string {
  const ofProfile = profile === undefined ? '' : `profile ${printable(profile)}, `
  return `${ofProfile}${region}${account === undefined ? '' : `, account ${account}`}`
}

function rowsOf(database: FoundDatabase, { withRegion }: TableOptions): Row[] {
  const network = { true: 'public', false: 'private' }[String(database.public)] ?? 'unknown'
  if (database.endpoints.length === 0) {
    return [{ cells: [database.identifier, engineOf(database), database.iam, network, database.status], next: '' }]
  }
  return database.endpoints.map((endpoint, index) => ({
    cells: [
      endpoint.name,
      index === 0 ? engineOf(database) : ROLES[endpoint.role],
      database.iam,
      network,
      reachOf(endpoint),
    ],
    next: nextCommand(database, endpoint, withRegion),
  }))
}

/** Further endpoints are below the first one of their database. */
const ROLES: Record<FoundEndpoint['role'], string> = {
  instance: 'instance',
  writer: 'writer endpoint',
  reader: 'reader endpoint',
  custom: 'custom endpoint',
  proxy: 'proxy endpoint',
}

/** `aurora-mysql 3.08.0` for 8.0.mysql_aurora.3.08.0. */
function engineOf({ kind, engine, version }: FoundDatabase): string {
  if (kind === 'proxy') return 'RDS Proxy'
  return version === undefined ? engine : `${engine} ${version.replace(/^.*mysql_aurora\./, '')}`
}

function reachOf(endpoint: FoundEndpoint): string {
  const { reach, loadBalancers } = endpoint
  const working = loadBalancers.find(each => each.reach?.state === 'yes')
  if (reach?.state === 'yes') return 'yes'
  if (working) return `by ${nameOf(working, endpoint)}`
  if (reach === undefined) {
    return loadBalancers.length === 0 ? 'not tried' : `not tried; ${namesOf(loadBalancers, endpoint)}`
  }
  if (reach.state === 'not-tried') return `not tried: ${reach.reason}`
  const others = loadBalancers.map(each => `by ${nameOf(each, endpoint)}: ${why(each.reach)}`)
  return [`no: ${why(reach)}`, ...others].join('; ')
}

function namesOf(loadBalancers: readonly FoundLoadBalancer[], endpoint: FoundEndpoint): string {
  return loadBalancers.map(each => nameOf(each, endpoint)).join(', ')
}

function nameOf({ name, port }: FoundLoadBalancer, endpoint: FoundEndpoint): string {
  return `NLB ${name}${port === endpoint.port ? '' : `:${port}`}`
}

const REASONS: Partial<Record<ErrorCode, string>> = {
  DIAL_TIMEOUT: 'no answer',
  DIAL_REFUSED: 'refused',
  DIAL_DNS: 'unknown to DNS',
  UPSTREAM_TIMEOUT: 'no greeting',
  UPSTREAM_CLOSED: 'closed without a greeting',
  UPSTREAM_NOT_MYSQL: 'not a MySQL server',
  UPSTREAM_REFUSED_CONNECTION: 'the server refuses this machine',
  TLS_WRONG_NAME: 'another server answers',
  TLS_UNKNOWN_CA: 'unknown certificate authority',
}

function why(reach: Reach | undefined): string {
  return (reach?.code && REASONS[reach.code]) ?? reach?.code ?? 'not tried'
}

/** One or more lines for each row. Its next command is below it. */
function layOut(rows: readonly Row[], width: number, style: (format: 'dim', text: string) => string): string[] {
  const headings: Cells = [...HEADINGS]
  const table: Cells[] = [headings, ...rows.map(({ cells }) => cells)]
  const widths = [0, 1, 2, 3].map(column => {
    const lengths = table.map(cells => cells[column]!.length)
    return Math.max(0, ...(column === 0 ? lengths.filter(length => length <= MAX_NAME_WIDTH) : lengths))
  })
  const first = widths[0]!
  const taken = widths.reduce((sum, one) => sum + one + GAP.length, 0)
  const isNarrow = width - taken < MIN_LAST_WIDTH
  const indent = ' '.repeat(isNarrow ? GAP.length : taken)
  const lines: string[] = []
  const add = (cells: Cells, format?: (line: string) => string) => {
    const [name, engine, iam, network, reach] = cells.map(printable) as Cells
    const middle = [engine, iam, network].map((cell, index) => cell.padEnd(widths[index + 1]!)).join(GAP)
    const isLong = name.length > first
    if (isLong) lines.push(name)
    const start = `${(isLong ? '' : name).padEnd(first)}${GAP}${middle}`
    const [head = '', ...rest] = wrap(reach, Math.max(MIN_LAST_WIDTH, width - indent.length))
    const whole = !isNarrow ? [`${start}${GAP}${head}`] : cells === headings ? [start] : [start, indent + head]
    for (const line of [...whole, ...rest.map(text => indent + text)]) {
      lines.push(format ? format(line.trimEnd()) : line.trimEnd())
    }
  }
  add(headings, line => style('dim', line))
  for (const { cells, next } of rows) {
    add(cells)
    if (next) lines.push(style('dim', `${GAP}${printable(next)}`))
  }
  return lines
}

function iamNotes(databases: readonly FoundDatabase[], width: number): string[] {
  return databases
    .filter(({ iam, kind }) => iam === 'off' && kind !== 'proxy')
    .map(({ identifier, region, kind }) => {
      const command = enableIamCommand(region, kind, identifier)
      const text = wrap(`IAM authentication of ${identifier} is off. To turn it on:`, width).join('\n')
      return `${text}\n\n${command.replace(/^/gm, '    ')}`
    })
}

function memberNotes(databases: readonly FoundDatabase[]): string[] {
  const count = databases.filter(({ cluster }) => cluster !== undefined).length
  if (count === 0) return []
  return [`Not shown: ${count === 1 ? '1 instance' : `${count} instances`} of clusters. --json lists them.`]
}

function rejectionNotes(rejected: readonly Scope[], width: number): string[] {
  const profiles = [...new Set(rejected.map(({ profile }) => profile))]
  return profiles.map(profile => {
    const regions = rejected.filter(each => each.profile === profile).map(({ region }) => region)
    const ofProfile = profile === undefined ? '' : ` of the profile ${printable(profile)}`
    const why = 'usually because the account has not enabled them'
    return wrap(`Regions that reject the credentials${ofProfile}, ${why}: ${regions.join(', ')}.`, width).join('\n')
  })
}

/** The same problem in several regions is one note. */
function problemNotes(
  problems: readonly Problem[],
  width: number,
  style: (format: 'yellow', text: string) => string,
): string[] {
  const groups = new Map<string, Problem[]>()
  for (const problem of problems) {
    const key = JSON.stringify([problem.profile, problem.action, problem.code])
    groups.set(key, [...(groups.get(key) ?? []), problem])
  }
  return [...groups.values()].map(group => {
    const { profile, message, code, hint, unknown } = group[0]!
    const regions = group.flatMap(({ region }) => region ?? []).join(', ')
    const where = [profile === undefined ? '' : `profile ${profile}`, regions].filter(Boolean).join(', ')
    const text = `! ${where ? `${where}: ` : ''}${message} (${code}). Unknown because of this: ${unknown}. ${hint}`
    const [first = '', ...rest] = wrap(printable(text), width - 2)
    return [style('yellow', first), ...rest.map(line => `${GAP}${line}`)].join('\n')
  })
}

function nothingFound({ complete, databases }: Found): string {
  if (databases.length > 0) return 'No MySQL or MariaDB database found, except instances of clusters.'
  return complete
    ? 'No MySQL or MariaDB database found here. Other regions: --region NAME, or --region all.'
    : 'No MySQL or MariaDB database found; the list is incomplete.'
}

/** Texts of AWS and names of profiles may contain anything, even control sequences of a terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ')
}
