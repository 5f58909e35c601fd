/** The options of a proxy from settings, with the files that they name read. */

import { isPasswordHash, type LocalUserOptions } from '../client/local-users.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { ProxyOptions } from '../proxy/proxy.ts'
import { readText } from '../read-file.ts'
import { readCa } from '../upstream/trust.ts'
import type { LocalUserConfig } from './keys.ts'
import type { EndpointConfig } from './load.ts'
import type { Settings } from './settings.ts'

/** What a library would be given, with the files read. @throws ProxyError CONFIG_INVALID */
export async function toProxyOptions(config: EndpointConfig, log: Logger): Promise<ProxyOptions> {
  const { settings } = config
  const rdsEndpoint = settings['rds-endpoint']
  if (!rdsEndpoint) throw new ProxyError('CONFIG_INVALID', '--rds-endpoint is missing')
  return {
    rdsEndpoint,
    name: config.name,
    connect: settings.connect,
    listen: settings.listen,
    user: settings.user,
    region: settings.region,
    profile: settings.profile,
    ca: await Promise.all(settings.ca.map(readCa)),
    caOnly: settings['ca-only'],
    tokenInHandshake: settings['token-in-handshake'],
    requireWriter: settings['require-writer'],
    localUsers: emptyToUndefined(await localUsers(config)),
    tls: tlsFiles(settings),
    requireTls: settings['require-tls'] || undefined,
    allowFrom: settings['allow-from'],
    trustNetwork: settings['trust-network'],
    maxConnections: settings['max-connections'],
    maxLoginsPerSecond: settings['max-logins-per-second'],
    connectTimeout: settings['connect-timeout'],
    loginTimeout: settings['login-timeout'],
    keepalive: settings.keepalive,
    logger: log,
  }
}

function emptyToUndefined<Item>(list: Item[]): Item[] | undefined {
  return list.length > 0 ? list : undefined
}

async function localUsers({ settings, localUsers }: EndpointConfig): Promise<LocalUserOptions[]> {
  const { 'local-user': name, 'local-password-file': passwordFile, 'local-password': password } = settings
  const hasPassword = passwordFile !== undefined || password !== undefined
  if (name === undefined && hasPassword) throw invalid('a local password: needs --local-user')
  if (name !== undefined && !hasPassword) throw invalid('--local-user: needs --local-password-file')
  if (passwordFile !== undefined && password !== undefined) {
    throw invalid('--local-password-file: the environment has a password as well')
  }
  const users = await Promise.all(localUsers.map(toLocalUser))
  if (name === undefined) return users
  const secret = password ?? (await readPassword(passwordFile!))
  return [{ name, ...asSecret(secret) }, ...users]
}

async function toLocalUser(user: LocalUserConfig): Promise<LocalUserOptions> {
  const { name, passwordFile, passwordEnv, passwordHash } = user
  const named = { name, user: user.user }
  if (passwordHash !== undefined) return { ...named, passwordHash }
  if (passwordFile !== undefined) return { ...named, ...asSecret(await readPassword(passwordFile)) }
  const secret = process.env[passwordEnv!]
  if (!secret) throw invalid(`local user '${name}': the environment has no ${passwordEnv}`)
  return { ...named, ...asSecret(secret) }
}

function asSecret(text: string): Pick<LocalUserOptions, 'password' | 'passwordHash'> {
  return isPasswordHash(text) ? { passwordHash: text } : { password: text }
}

/** The first line of a file. */
async function readPassword(file: string): Promise<string> {
  const text = await readText('local password file', file)
  const password = text.split(/\r?\n/, 1)[0]!
  if (password === '') throw invalid(`local password file ${file}: its first line is empty`)
  return password
}

function tlsFiles(settings: Settings): { certFile: string; keyFile: string } | undefined {
  const { 'tls-cert': certFile, 'tls-key': keyFile } = settings
  if (!certFile !== !keyFile) throw invalid('--tls-cert and --tls-key: need one another')
  return certFile && keyFile ? { certFile, keyFile } : undefined
}

export function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
