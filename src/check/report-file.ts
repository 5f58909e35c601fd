/**
 * `check --report`: a Markdown document about a real database that its user can publish.
 *
 * It is an allow-list: only what is named here gets into it, and each identifier is a placeholder. The only foreign text is
 * the error message of a server, whose names and addresses are replaced too.
 */
import type { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import {
  type Endpoint,
  isGlobalEndpoint,
  isIndirect,
  isLocalForward,
  isOnFarEnd,
  isRdsProxy,
  regionOf,
} from '../endpoint.ts'
import * as capabilityFlags from '../protocol/capabilities.ts'
import type { HandshakeV10 } from '../protocol/packets.ts'
import type { Context, TlsFacts } from './context.ts'
import { FAR_END, FORWARD, type StepsResult } from './steps.ts'

export interface ReportFacts {
  /** of mysql-iam-proxy */
  version: string
  /** as in process.version */
  node: string
  platform: string
}

/** The document. @param context undefined if the configuration is invalid */
export function toReport(result: StepsResult, context: Context | undefined, facts: ReportFacts): string {
  const names = createPlaceholders(context)
  const sections = [
    '# Report of mysql-iam-proxy check',
    'Names, addresses, accounts, keys and users are replaced. The same placeholder means the same value.',
    table([
      ['mysql-iam-proxy', facts.version],
      ['Node.js', `${facts.node}, ${facts.platform}`],
      ['Result', resultOf(result, names)],
      ...(context ? pathOf(context, names) : []),
    ]),
    ...(context?.upstream ? ['## Greeting', table(greetingOf(context.upstream.greeting))] : []),
    ...(context?.tls ? ['## TLS', table(tlsOf(context.tls, names))] : []),
    ...(context?.tls ? ['## Certificates, from the server up', certificatesOf(context.tls, names)] : []),
    '## Login',
    table(loginOf(result, context)),
    ...(context?.variables ? ['## Server variables', table(variablesOf(context.variables))] : []),
    ...(context?.rdsDatabase || context?.loadBalancer ? ['## As AWS describes it', table(awsOf(context))] : []),
    '## Steps',
    ['| step | result | time |', '| --- | --- | --- |', ...result.steps.map(stepRow)].join('\n'),
    ...(names.hosts().length > 0 ? ['## Shapes of the names', table(names.hosts())] : []),
  ]
  return `${sections.join('\n\n')}\n`
}

type Row = [name: string, value: string]

function table(rows: readonly Row[]): string {
  return ['| | |', '| --- | --- |', ...rows.map(toLine)].join('\n')
}

/** Markdown takes <host-1> for HTML and does not show it, unless it is code. */
function toLine(cells: readonly string[]): string {
  const escaped = cells.map(text =>
    text
      .replace(/[|`]/g, "'")
      .replace(/<(?![a-z-]+-\d+>)/g, '(')
      .replace(/<[a-z-]+-\d+>/g, '`$&`'),
  )
  return `| ${escaped.join(' | ')} |`
}

function resultOf({ failed, steps }: StepsResult, names: Placeholders): string {
  if (!failed) return 'a login through the whole path and a query succeeded'
  const step = steps.find(({ error }) => error)?.step
  const error = `${failed.code}, ERROR ${failed.errno} (${failed.sqlState}) in the step ${step}`
  return OF_SERVER.includes(failed.code) ? `${error}: ${names.redact(failed.message)}` : error
}

/** The errors whose messages are the server's words, or name what it asked for. Other messages may name files or programs. */
const OF_SERVER = ['UPSTREAM_REFUSED_LOGIN', 'UPSTREAM_REFUSED_CONNECTION', 'AUTH_PLUGIN_UNEXPECTED']

function pathOf({ target: { endpoint, tunnel } }: Context, names: Placeholders): Row[] {
  const { rds, proxy } = endpoint
  return [
    ['Endpoint', `${names.host(rds.host)}, ${kindOf(rds.host)}`],
    ['Region', rds.region ?? 'of the server, from its certificate'],
    ['Dialed', dialledIn(endpoint, names)],
    ...(proxy ? ([['Through', 'a forward proxy']] as Row[]) : []),
    ...(tunnel ? ([['Through', 'a tunnel']] as Row[]) : []),
  ]
}

function dialledIn(endpoint: Endpoint, names: Placeholders): string {
  if (!isIndirect(endpoint)) return 'the endpoint itself'
  if (isOnFarEnd(endpoint)) return FAR_END
  return isLocalForward(endpoint) ? FORWARD : `${names.host(endpoint.dial.host)}, not the endpoint itself`
}

function kindOf(host: string): string {
  if (isRdsProxy(host)) return 'RDS Proxy'
  if (isGlobalEndpoint(host)) return 'the writer endpoint of an Aurora Global Database'
  const [, cluster] = /\.(cluster-(?:ro-|custom-)?)/.exec(host) ?? []
  if (cluster === 'cluster-') return 'the writer endpoint of an Aurora or Multi-AZ cluster'
  if (cluster) return `a ${cluster === 'cluster-ro-' ? 'reader' : 'custom'} endpoint of a cluster`
  return 'an instance endpoint'
}

/** By bit. */
const CAPABILITIES = Object.entries(capabilityFlags)
  .flatMap(([name, flag]): [name: string, flag: number][] =>
    name.startsWith('CLIENT_') && typeof flag === 'number' ? [[name.slice('CLIENT_'.length), flag >>> 0]] : [],
  )
  .sort(([, left], [, right]) => left - right)

function greetingOf(greeting: HandshakeV10): Row[] {
  const flags = CAPABILITIES.filter(([, flag]) => capabilityFlags.has(greeting.capabilities, flag)).map(
    ([name]) => name,
  )
  return [
    ['Version', plain(greeting.serverVersion)],
    ['Plugin', plain(greeting.authPlugin ?? '') || 'none named'],
    ['Capabilities', `0x${(greeting.capabilities >>> 0).toString(16).padStart(8, '0')}: ${flags.join(', ')}`],
  ]
}

/** What a server calls its version and plugin: digits, letters and few signs. */
function plain(text: string): string {
  return text.replace(/[^\w.+~-]/g, '?').slice(0, 60)
}

function tlsOf({ protocol, cipher, group, chain }: TlsFacts, names: Placeholders): Row[] {
  const [server] = chain
  return [
    ['Protocol', `${protocol}, ${cipher}`],
    ['Group', group],
    ['Names on the certificate', server ? namesOn(server, names).join(', ') : 'none'],
  ]
}

function namesOn(certificate: X509Certificate, names: Placeholders): string[] {
  const entries = (certificate.subjectAltName ?? '').split(', ')
  return entries.flatMap(entry => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? []).map(names.host)
}

function certificatesOf({ chain }: TlsFacts, names: Placeholders): string {
  const day = (text: string) => new Date(text).toISOString().slice(0, 10)
  const rows = chain.map((certificate, index) => {
    const subject = index === 0 ? 'the server' : names.authority(commonName(certificate.subject))
    const issuer = names.authority(commonName(certificate.issuer))
    const dates = `${day(certificate.validFrom)} to ${day(certificate.validTo)}`
    return toLine([subject, issuer, keyOf(certificate), dates])
  })
  return ['| subject | issuer | key | valid |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

/** The CN of a distinguished name, one attribute a line, or its O. */
function commonName(name: string | undefined): string {
  return /^CN=(.*)$/m.exec(name ?? '')?.[1] ?? /^O=(.*)$/m.exec(name ?? '')?.[1] ?? 'unnamed'
}

function keyOf({ publicKey }: X509Certificate): string {
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {}
  return [publicKey.asymmetricKeyType, modulusLength ?? namedCurve].filter(Boolean).join(' ')
}

function loginOf({ steps }: StepsResult, context: Context | undefined): Row[] {
  const factOf = (step: string, fact: string) => {
    const value = steps.find(each => each.step === step)?.facts[fact]
    return typeof value === 'string' ? value : 'unknown'
  }
  return [
    ['Token', factOf('login', 'token')],
    ['Token length', context?.tokenLength === undefined ? 'unknown' : `${context.tokenLength} bytes`],
    ['Round trips', factOf('round trips', 'round trips')],
    ['Phases of that login', factOf('round trips', 'phases')],
    ['Clock', factOf('clock', 'skew')],
  ]
}

function variablesOf(variables: Readonly<Record<string, string>>): Row[] {
  return Object.entries(variables).map(([name, value]) => [
    name,
    name === 'version_comment' ? plainWords(value) : plain(value),
  ])
}

const plainWords = (text: string) => text.replace(/[^\w.+~(), -]/g, '?').slice(0, 80)

function awsOf({ rdsDatabase, loadBalancer }: Context): Row[] {
  const rows: Row[] = []
  if (rdsDatabase) {
    rows.push(['Kind', rdsDatabase.kind], ['Engine', plain(rdsDatabase.engine ?? 'unknown')])
    rows.push(['IAM authentication', String(rdsDatabase.iamAuthentication ?? 'unknown')])
    if (rdsDatabase.ca) rows.push(['CA', plain(rdsDatabase.ca)])
    if (rdsDatabase.proxy) rows.push(['Mode of the RDS Proxy', rdsDatabase.proxy.mode])
  }
  if (loadBalancer) rows.push(['Idle timeout of the load balancer', `${loadBalancer.idleTimeout ?? 'unknown'} s`])
  return rows
}

function stepRow({ step, milliseconds, warnings, error }: StepsResult['steps'][number]): string {
  const codes = [...(error ? [error.code] : []), ...warnings.map(({ code }) => `warning ${code}`)]
  return toLine([step, codes.join(', ') || 'ok', `${milliseconds} ms`])
}

// ---- placeholders ----

interface Placeholders {
  host: (name: string) => string
  /** a certificate authority: the name if it is one of Amazon, otherwise a placeholder */
  authority: (name: string) => string
  /** a message of a server */
  redact: (message: string) => string
  /** each placeholder of a host, with the shape of the name */
  hosts: () => Row[]
}

/** The plugins that a server may name in an error. */
const PLUGINS =
  /^(?:mysql_native_password|caching_sha2_password|mysql_clear_password|sha256_password|AWSAuthenticationPlugin|ed25519)$/

function createPlaceholders(context: Context | undefined): Placeholders {
  const given = new Map<string, string>()
  const shapes: Row[] = []
  const counts: Record<string, number> = {}
  const place = (kind: string, value: string): string => {
    const before = given.get(value)
    if (before !== undefined) return before
    counts[kind] = (counts[kind] ?? 0) + 1
    const placeholder = `<${kind}-${counts[kind]}>`
    given.set(value, placeholder)
    return placeholder
  }
  const host = (name: string): string => {
    if (isIP(name) !== 0) return place('address', name)
    const isNew = !given.has(name)
    const placeholder = place('host', name)
    if (isNew) shapes.push([placeholder, shapeOf(name)])
    return placeholder
  }
  if (context) {
    const { rds, dial } = context.target.endpoint
    host(rds.host)
    host(dial.host)
    place('user', context.user)
    if (context.database !== undefined) place('database', context.database)
    if (context.accessKeyId !== undefined) place('key', context.accessKeyId)
    if (context.identity) {
      place('account', context.identity.account)
      const [kind = '', name, session] = context.identity.arn.split(':').slice(5).join(':').split('/')
      if (name) place(kind === 'user' ? 'iam-user' : 'role', name)
      if (session) place('session', session)
    }
  }
  const redact = (message: string) => {
    const placed: string[] = []
    /** Hides a placeholder from the next patterns. */
    const keep = (placeholder: string) => `\u0001${placed.push(placeholder) - 1}\u0002`
    const quoted = (text: string) => (PLUGINS.test(text) ? text : (given.get(text) ?? place('text', text)))
    let text = message.replace(/\p{Cc}+/gu, ' ').slice(0, 500)
    text = text.replace(/(['"`])(.*?)\1/g, (_whole, quote, inside) => keep(`${quote}${quoted(inside)}${quote}`))
    text = text.replace(/\barn:[\w:/+=,.@*-]+/g, found => keep(place('arn', found)))
    for (const [value, placeholder] of [...given].sort(([left], [right]) => right.length - left.length)) {
      const escaped = value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      text = text.replace(new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`, 'g'), () => keep(placeholder))
    }
    for (const [kind, pattern] of PATTERNS) text = text.replace(pattern, found => keep(place(kind, found)))
    // What follows such a word is a name, even if this program does not know it.
    text = text.replace(/\b(role|user|database|host|account|session) ([\w+=,@/.-]*[\w])/gi, (_whole, word, name) =>
      /^(?:is|was|has|or|and|for|of|does|not|name|with|failed|to|cannot|from|in|on|by)$/i.test(name)
        ? `${word} ${name}`
        : `${word} ${keep(place(word.toLowerCase(), name))}`,
    )
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the two marks of keep
    return text.replace(/\u0001(\d+)\u0002/g, (_whole, index) => placed[Number(index)]!)
  }
  return {
    host,
    authority: name => (/^(?:Amazon|Starfield)\b/.test(name) ? plainWords(name) : place('ca', name)),
    redact,
    hosts: () => shapes,
  }
}

/** In messages of servers. */
const PATTERNS: [kind: string, pattern: RegExp][] = [
  ['key', /\bA[A-Z]IA[A-Z0-9]{8,}\b/g],
  ['address', /(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])/g],
  ['address', /(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])/gi],
  ['host', /\b[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b/gi],
  ['account', /\b\d{12}\b/g],
  ['text', /\b[\w+/=]{24,}/g],
]

const KNOWN_LABELS = /^(?:\*|rds|rds-[a-z]+|elb|vpce|amazonaws|com|cn|eu|global|endpoint)$/

/** A name of AWS with its own parts replaced: NAME.cluster-ID.eu-west-1.rds.amazonaws.com. */
function shapeOf(name: string): string {
  if (!/\.amazonaws\.(?:com|com\.cn|eu)$/.test(name)) return 'a name that is not one of AWS'
  const region = regionOf(name)
  const shape = (label: string, index: number) => {
    if (KNOWN_LABELS.test(label) || label === region || /^[a-z]{2,4}(?:-[a-z]+)+-\d$/.test(label)) return label
    if (index === 0) return 'NAME'
    return `${/^(?:cluster-(?:ro-|custom-)?|proxy-|global-)/.exec(label)?.[0] ?? ''}ID`
  }
  return name.split('.').map(shape).join('.')
}
