/** The admin and the health listener, as the settings ask for them. */
import type { Admin, AdminOptions } from '../admin/server.ts'
import type { Settings } from '../config/settings.ts'
import { formatHostPort, type HostPort, isPrivate, parseHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { OptionNames } from '../option-values.ts'
import { hostAndPortProblem } from '../value-checks.ts'
import { packageVersion } from '../version.ts'

type AdminSettings = Pick<Settings, 'admin-listen' | 'admin-token-file' | 'health-listen' | 'ready-when'>

/**
 * Resolves with undefined where neither listener is asked for. Their modules are loaded only for one that is.
 * @param names how the settings were written, for errors
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function startAdminAsSet(
  settings: AdminSettings,
  options: Omit<AdminOptions, keyof ReadSettings | 'version'>,
  log: Logger,
  names: OptionNames,
): Promise<Admin | undefined> {
  const found = await readAdminSettings(settings, names)
  if (!found) return undefined
  const { startAdmin } = await import('../admin/server.ts')
  const admin = await startAdmin({ ...options, ...found, version: packageVersion() }, log)
  const { address, healthAddress } = admin
  if (address) log.info({}, `admin listener on http://${formatHostPort(address)}`)
  if (healthAddress) log.info({}, `health and metrics on http://${formatHostPort(healthAddress)}`)
  return admin
}

type ReadSettings = Pick<AdminOptions, 'listen' | 'healthListen' | 'token' | 'readyWhen'>

/**
 * The addresses and the secret of the listeners; undefined where none is asked for.
 * @throws ProxyError CONFIG_INVALID
 */
export async function readAdminSettings(
  settings: AdminSettings,
  names: OptionNames,
): Promise<ReadSettings | undefined> {
  const { 'admin-token-file': file, 'ready-when': readyWhen } = settings
  const listen = readAddress(settings, 'admin-listen', names)
  const healthListen = readAddress(settings, 'health-listen', names)
  if (listen === undefined && file !== undefined) {
    throw invalid(`${names.place('admin-token-file')}: needs ${names.name('admin-listen')}`)
  }
  if (listen && file === undefined && !isPrivate(listen)) {
    const instead = `or use ${names.name('health-listen')} for health and metrics alone`
    const message = `${formatHostPort(listen)} is not a loopback address; add ${names.name('admin-token-file')}, ${instead}`
    throw invalid(`${names.place('admin-listen')}: ${message}`)
  }
  if (!listen && !healthListen) return undefined
  const { readAdminToken } = await import('../admin/guard.ts')
  const token = file === undefined ? undefined : await readAdminToken(file, names.place('admin-token-file'))
  return { listen, healthListen, token, readyWhen }
}

/** @throws ProxyError CONFIG_INVALID */
function readAddress(
  settings: AdminSettings,
  option: 'admin-listen' | 'health-listen',
  names: OptionNames,
): HostPort | undefined {
  const address = settings[option]
  if (address === undefined) return undefined
  const problem = hostAndPortProblem(address)
  if (problem) throw invalid(`${names.place(option)}: ${problem}`)
  return parseHostPort(address, 0, names.place(option))
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
