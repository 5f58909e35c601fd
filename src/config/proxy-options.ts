/** The options of proxies from settings, with the files that they name read and checked. */
import type { LocalUserOptions } from '../client/local-user-options.ts'
import { isPasswordHash } from '../client/local-users.ts'
import { checkCertificate } from '../client/tls.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { type Logger, withFields } from '../log.ts'
import type { OptionNames } from '../option-values.ts'
import { firstLine, passwordProblem, readPassword } from '../password-file.ts'
import { optionProblems } from '../proxy/check-options.ts'
import type { ProxyOptions } from '../proxy/options.ts'
import type { SyncJob } from '../sync-targets/sync.ts'
import { defaultCacheFolder } from '../upstream/bundle-cache.ts'
import { readCa } from '../upstream/trust.ts'
import type { LocalUserConfig } from './keys.ts'
import type { EndpointConfig, SyncConfig } from './load.ts'
import { invalidConfig } from './mistakes.ts'
import { toRolesAnywhere } from './roles-anywhere.ts'
import type { Settings } from './settings.ts'

/** An endpoint of the configuration, ready to serve. */
export interface PreparedEndpoint {
  config: EndpointConfig
  options: ProxyOptions
  /** Keeps the targets of its NLB in sync */
  sync: SyncJob | undefined
}

/**
 * Everything that serving reads before it listens: `config check` and the service do the same here.
 * @throws ProxyError CONFIG_INVALID, with the mistakes of all endpoints
 */
export async function prepareEndpoints(configs: readonly EndpointConfig[], log: Logger): Promise<PreparedEndpoint[]> {
  const problems: string[] = []
  const prepared = await endpointsFrom(configs, log, problems)
  if (problems.length > 0) throw invalidConfig(problems, configs[0]?.text)
  return prepared
}

/** As prepareEndpoints does, but adds the mistakes to `problems`. An endpoint with a mistake is not in the result. */
export async function endpointsFrom(
  configs: readonly EndpointConfig[],
  log: Logger,
  problems: string[],
): Promise<PreparedEndpoint[]> {
  const prepared: PreparedEndpoint[] = []
  for (const config of configs) {
    const name = config.name ?? config.settings['rds-endpoint']
    const logOfEndpoint = withFields(log, () => ({ endpoint: name }))
    const before = problems.length
    const options = await optionsFrom(config, logOfEndpoint, problems)
    const sync = config.sync && (await collect(() => toSyncJob(config.sync!), problems))
    if (problems.length === before && options) prepared.push({ config, options, sync })
  }
  return prepared
}

/**
 * The options that a library user would write, with the files read.
 * @throws ProxyError CONFIG_INVALID, with every mistake in the files
 */
export async function toProxyOptions(config: EndpointConfig, log: Logger): Promise<ProxyOptions> {
  const problems: string[] = []
  const options = await optionsFrom(config, log, problems)
  if (!options || problems.length > 0) throw invalidConfig(problems, config.text)
  return options
}

async function optionsFrom(config: EndpointConfig, log: Logger, problems: string[]): Promise<ProxyOptions | undefined> {
  const { settings, names } = config
  const rdsEndpoint = settings['rds-endpoint']
  if (!rdsEndpoint) {
    problems.push(`${names.place('rds-endpoint')} is missing`)
    return undefined
  }
  const before = problems.length
  const tls = tlsFiles(settings)
  const options: ProxyOptions = {
    rdsEndpoint,
    name: config.name,
    connect: settings.connect,
    proxy: settings.proxy,
    tunnel: settings.tunnel,
    ssmTarget: settings['ssm-target'],
    tunnelTimeout: settings['tunnel-timeout'],
    tunnelIdleTimeout: settings['tunnel-idle-timeout'],
    listen: settings.listen,
    user: settings.user,
    region: settings.region,
    profile: settings.profile,
    rolesAnywhere: toRolesAnywhere(settings),
    ca: await allOf(settings.ca, (file, index) => readCa(file, names.place('ca', index)), problems),
    caOnly: settings['ca-only'],
    regionBundle: settings['region-bundle'],
    bundleCache: settings['bundle-cache'] ?? defaultCacheFolder(),
    tokenInHandshake: settings['token-in-handshake'],
    tokenReuse: settings['token-reuse'],
    requireWriter: settings['require-writer'],
    compress: settings.compress,
    localUsers: emptyToUndefined(await readLocalUsers(config, problems, log)),
    tls,
    localTls: settings['local-tls'],
    requireTls: settings['require-tls'] || undefined,
    allowFrom: emptyToUndefined(settings['allow-from']),
    proxyProtocol: settings['proxy-protocol'],
    trustNetwork: settings['trust-network'],
    maxConnections: settings['max-connections'],
    maxUnauthenticated: settings['max-unauthenticated'],
    preparedConnections: settings['prepared-connections'],
    maxLoginsPerSecond: settings['max-logins-per-second'],
    connectTimeout: settings['connect-timeout'],
    greetingTimeout: settings['greeting-timeout'],
    loginTimeout: settings['login-timeout'],
    keepalive: settings.keepalive,
    tcpUserTimeout: settings['tcp-user-timeout'],
    clientWriteTimeout: settings['client-write-timeout'],
    logger: log,
  }
  if (tls) problems.push(...(await tlsProblems(tls, names, log)))
  // With a file that could not be read, further reports would be false.
  if (problems.length === before) problems.push(...optionProblems(options, names))
  return options
}

async function tlsProblems(
  { certFile, keyFile }: { certFile: string; keyFile: string },
  names: OptionNames,
  log: Logger,
): Promise<string[]> {
  const labels = { cert: names.place('tls-cert'), key: names.place('tls-key') }
  const { problems, warning } = await checkCertificate(certFile, keyFile, labels)
  if (warning) log.warn({ code: 'CONFIG_INVALID' }, warning)
  return problems
}

/** The modules of sync-targets are loaded only for an endpoint with a `sync`. @throws ProxyError CONFIG_INVALID */
async function toSyncJob({ settings, names }: SyncConfig): Promise<SyncJob> {
  const { toJob } = await import('./sync-job.ts')
  return await toJob(settings, names)
}

/** The result of `work`; undefined where it fails, with the mistake in `problems`. */
export async function collect<Result>(work: () => Promise<Result>, problems: string[]): Promise<Result | undefined> {
  try {
    return await work()
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (error.code !== 'CONFIG_INVALID') throw error
    problems.push(error.message)
    return undefined
  }
}

async function allOf<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
  problems: string[],
): Promise<Result[]> {
  const results = await Promise.all(items.map((item, index) => collect(() => work(item, index), problems)))
  return results.filter(result => result !== undefined) as Result[]
}

function emptyToUndefined<Item>(list: Item[]): Item[] | undefined {
  return list.length > 0 ? list : undefined
}

async function readLocalUsers(config: EndpointConfig, problems: string[], log: Logger): Promise<LocalUserOptions[]> {
  const { settings, localUsers, names } = config
  const { 'local-user': name, 'local-password-file': file, 'local-password': password } = settings
  const users = await allOf(localUsers, user => readLocalUser(user, log), problems)
  if (name === undefined) return users
  const readSecret = async () =>
    password === undefined
      ? await readPassword(file ?? '', names.place('local-password-file'), log)
      : checkPasswordOf(password, names.place('local-password'))
  const secret = await collect(readSecret, problems)
  return secret === undefined ? users : [{ name, ...asSecret(secret) }, ...users]
}

async function readLocalUser(config: LocalUserConfig, log: Logger): Promise<LocalUserOptions> {
  const { name, user, passwordFile, passwordEnv, passwordHash, place } = config
  if (passwordHash !== undefined) {
    if (!isPasswordHash(passwordHash)) {
      throw invalid(`${place('password-hash')}: is neither *… (40 hexadecimal digits) nor $A$005$… (63 characters)`)
    }
    return { name, user, passwordHash }
  }
  if (passwordFile !== undefined) {
    return { name, user, ...asSecret(await readPassword(passwordFile, place('password-file'), log)) }
  }
  const secret = process.env[passwordEnv!]
  if (!secret) throw invalid(`${place('password-env')}: the variable ${passwordEnv} is not set`)
  return { name, user, ...asSecret(checkPasswordOf(secret, `${place('password-env')}: the variable ${passwordEnv}`)) }
}

function asSecret(text: string): Pick<LocalUserOptions, 'password' | 'passwordHash'> {
  return isPasswordHash(text) ? { passwordHash: text } : { password: text }
}

/** A password from the environment, without a line end. @throws ProxyError CONFIG_INVALID */
function checkPasswordOf(text: string, label: string): string {
  const bytes = Buffer.from(text)
  const problem = passwordProblem(bytes)
  if (problem) throw invalid(`${label}: ${problem}`)
  return firstLine(bytes)
}

function tlsFiles(settings: Settings): { certFile: string; keyFile: string } | undefined {
  const { 'tls-cert': certFile, 'tls-key': keyFile } = settings
  return certFile && keyFile ? { certFile, keyFile } : undefined
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
