/** Starts the admin listener from the settings. */
import type { Admin, AdminOptions } from '../admin/server.ts'
import type { Settings } from '../config/settings.ts'
import { formatHostPort, parseHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { packageVersion } from '../version.ts'

/**
 * Resolves with undefined if --admin-listen is not set. Loads the modules of the listener only if it is.
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function startAdminAsSet(
  settings: Pick<Settings, 'admin-listen' | 'admin-token-file'>,
  options: Omit<AdminOptions, 'listen' | 'token' | 'version'>,
  log: Logger,
): Promise<Admin | undefined> {
  const { 'admin-listen': address, 'admin-token-file': file } = settings
  if (address === undefined) {
    if (file !== undefined) throw new ProxyError('CONFIG_INVALID', '--admin-token-file requires --admin-listen')
    return undefined
  }
  if (!/:\d+$/.test(address)) {
    throw new ProxyError('CONFIG_INVALID', `--admin-listen: "${address}" needs a port, as in 127.0.0.1:9090`)
  }
  const listen = parseHostPort(address, 0, '--admin-listen')
  const [{ startAdmin }, { readAdminToken }] = await Promise.all([
    import('../admin/server.ts'),
    import('../admin/guard.ts'),
  ])
  const token = file === undefined ? undefined : await readAdminToken(file)
  const admin = await startAdmin({ ...options, listen, token, version: packageVersion() }, log)
  log.info({}, `admin listener on http://${formatHostPort(admin.address)}`)
  return admin
}
