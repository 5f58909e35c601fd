/** `mysql-iam-proxy url [NAME]`: the connection of an endpoint in one format, for scripts. Needs no running proxy. */
import { lookup } from 'node:dns/promises'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { connectionOf } from '../connection.ts'
import { formatConnection } from '../connection-formats.ts'
import { connectionBlock } from '../connection-lines.ts'
import { type Listen, parseListen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'

/**
 * What the command prints.
 * @throws ProxyError CONFIG_INVALID
 */
export async function url(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  environment: NodeJS.ProcessEnv,
  platform: NodeJS.Platform = process.platform,
): Promise<string> {
  // Below, the flag is a wish for the line: it must not replace the user that the configuration gives to the proxy.
  const { user, ...others } = flags
  const { settings, endpoints: found } = await loadConfig(others, endpoints, environment)
  const { name, settings: own, localUsers } = theOnly(found)
  const localUser = own['local-user']
  const connection = connectionOf(
    name ?? own['rds-endpoint']!,
    {
      user: own.user,
      localUsers: [...(localUser === undefined ? [] : [{ name: localUser }]), ...localUsers],
      requireTls: own['require-tls'] || undefined,
      trustNetwork: own['trust-network'],
    },
    {
      user: user as string | undefined,
      host: settings.host,
      ca: settings['ssl-ca'],
      database: settings.database,
    },
    await resolveListen(own.listen),
  )
  const { format } = settings
  return format === 'text' ? connectionBlock(connection, platform) : formatConnection(connection, format, platform)
}

/** `localhost` may be 127.0.0.1 or ::1, and to many clients it means a socket file. */
async function resolveListen(text: string): Promise<Listen> {
  const listen = parseListen(text)
  if (!('host' in listen && listen.host === 'localhost')) return listen
  return { ...listen, host: (await lookup('localhost')).address }
}

function theOnly(found: readonly EndpointConfig[]): EndpointConfig {
  if (found.length === 1) return found[0]!
  const names = found.map(({ name, settings }) => name ?? settings['rds-endpoint'])
  throw new ProxyError('CONFIG_INVALID', `url: needs the name of one endpoint; there are ${names.join(', ')}`)
}
