/** The admin listener, as the settings ask for it. */
import type { Admin, AdminOptions } from '../admin/server.ts'
import type { Settings } from '../config/settings.ts'
import { formatHostPort, type HostPort, isPrivate, parseHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { OptionNames } from '../option-values.ts'
import { hostAndPortProblem } from '../value-checks.ts'
import { packageVersion } from '../version.ts'

type AdminSettings = Pick<Settings, 'admin-listen' | 'admin-token-file'>

/**
 * Resolves with undefined where no admin listener is asked for. Its modules are loaded only for one that is.
 * @param names how the settings were written, for errors
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function startAdminAsSet(
  settings: AdminSettings,
  options: Omit<AdminOptions, 'listen' | 'token' | 'version'>,
  log: Logger,
  names: OptionNames,
): Promise<Admin | undefined> {
  const found = await readAdminSettings(settings, names)
  if (!found) return undefined
  const { startAdmin } = await import('../admin/server.ts')
  const admin = await startAdmin({ ...options, ...found, version: packageVersion() }, log)
  log.info({}, `admin listener on http://${formatHostPort(admin.address)}`)
  return admin
}

/**
 * The address and the secret of the admin listener; undefined where none is asked for.
 * @throws ProxyError CONFIG_INVALID
 */
export async function readAdminSettings(
  settings: AdminSettings,
  names: OptionNames,
): Promise<{ listen: HostPort; token: string | undefined } | undefined> {
  const { 'admin-listen': address, 'admin-token-file': file } = settings
  if (address === undefined) {
    if (file === undefined) return undefined
    throw invalid(`${names.place('admin-token-file')}: needs ${names.name('admin-listen')}`)
  }
  const problem = hostAndPortProblem(address)
  if (problem) throw invalid(`${names.place('admin-listen')}: ${problem}`)
  const listen = parseHostPort(address, 0, names.place('admin-listen'))
  if (file === undefined && !isPrivate(listen)) {
    const message = `${formatHostPort(listen)} is not a loopback address; add ${names.name('admin-token-file')}`
    throw invalid(`${names.place('admin-listen')}: ${message}`)
  }
  const { readAdminToken } = await import('../admin/guard.ts')
  return { listen, token: file === undefined ? undefined : await readAdminToken(file, names.place('admin-token-file')) }
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
