/** `mysql-iam-proxy --rds-endpoint HOST`: serves one endpoint until a signal ends it. */
import { readFile } from 'node:fs/promises'
import { formatHostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { createProxy, type LocalUserOptions } from '../index.ts'
import { isPasswordHash } from '../local-users.ts'
import { createLogger } from '../log.ts'
import type { Settings } from '../options.ts'
import { checkPem } from '../trust.ts'

/** Resolves when the proxy has stopped. @throws ProxyError CONFIG_INVALID, LISTEN_FAILED */
export async function run(settings: Settings, stop: AbortSignal): Promise<void> {
  const rdsEndpoint = settings['rds-endpoint']
  if (!rdsEndpoint) throw new ProxyError('CONFIG_INVALID', '--rds-endpoint is missing')
  const log = createLogger(settings['log-level'], settings['log-format'])
  const proxy = createProxy({
    rdsEndpoint,
    connect: settings.connect,
    listen: settings.listen,
    user: settings.user,
    region: settings.region,
    profile: settings.profile,
    ca: await Promise.all(settings.ca.map(readCa)),
    caOnly: settings['ca-only'],
    tokenInHandshake: settings['token-in-handshake'],
    connectTimeout: settings['connect-timeout'],
    loginTimeout: settings['login-timeout'],
    keepalive: settings.keepalive,
    requireWriter: settings['require-writer'],
    localUsers: await localUsersOf(settings),
    tls: tlsFilesOf(settings),
    requireTls: settings['require-tls'] || undefined,
    allowFrom: settings['allow-from'],
    trustNetwork: settings['trust-network'],
    maxConnections: settings['max-connections'],
    maxLoginsPerSecond: settings['max-logins-per-second'],
    busyPoll: settings['busy-poll'],
    logger: log,
  })
  const { rds, dial } = proxy.endpoint
  await proxy.listen()
  const { address } = proxy.state
  log.info(
    { rds: formatHostPort(rds), dial: formatHostPort(dial), region: rds.region },
    `listening on ${address}; ${whoMayComeIn(settings)}`,
  )
  if (!stop.aborted) await new Promise(resolve => stop.addEventListener('abort', resolve, { once: true }))
  log.info({}, 'stopping')
  await proxy.close()
}

/** What listening there means. */
function whoMayComeIn(settings: Settings): string {
  if (settings['local-user']) return `clients log in as local user '${settings['local-user']}'`
  if (settings.listen.startsWith('unix:'))
    return 'no password is asked for: every program of this user is in the database'
  const where = settings['trust-network'] ? 'everybody who' : 'every program on this machine that'
  return `no password is asked for: ${where} reaches it is in the database`
}

/** @throws ProxyError CONFIG_INVALID */
async function localUsersOf(settings: Settings): Promise<LocalUserOptions[]> {
  const { 'local-user': name, 'local-password-file': file, 'local-password': password } = settings
  const isAlone = name === undefined && (file !== undefined || password !== undefined)
  if (isAlone) throw new ProxyError('CONFIG_INVALID', 'a local password: needs --local-user')
  if (name === undefined) return []
  if (file !== undefined && password !== undefined)
    throw new ProxyError('CONFIG_INVALID', '--local-password-file: the environment has a password as well')
  const secret = file === undefined ? password : await readPassword(file)
  if (!secret) throw new ProxyError('CONFIG_INVALID', '--local-user: needs --local-password-file')
  return [{ name, user: settings.user, ...(isPasswordHash(secret) ? { passwordHash: secret } : { password: secret }) }]
}

/** Its first line. */
async function readPassword(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ProxyError('CONFIG_INVALID', `--local-password-file ${file}: ${systemCode(error)}`, { cause: error })
  })
  const password = text.split(/\r?\n/, 1)[0]!
  if (password === '') throw new ProxyError('CONFIG_INVALID', `--local-password-file ${file}: is empty`)
  return password
}

function tlsFilesOf(settings: Settings): { certFile: string; keyFile: string } | undefined {
  const { 'tls-cert': certFile, 'tls-key': keyFile } = settings
  if (!certFile !== !keyFile) throw new ProxyError('CONFIG_INVALID', '--tls-cert and --tls-key: need one another')
  return certFile && keyFile ? { certFile, keyFile } : undefined
}

async function readCa(file: string): Promise<string> {
  const pem = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ProxyError('CONFIG_INVALID', `--ca ${file}: ${systemCode(error)}`, { cause: error })
  })
  checkPem(pem, `--ca ${file}`)
  return pem
}
