/** `mysql-iam-proxy config check|show|schema` */
import { stringify } from 'yaml'
import { redact } from '../aws/redact.ts'
import { mayBeInFile, SYNC_KEYS } from '../config/keys.ts'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { type OptionName, optionNames, optionSpec } from '../config/options.ts'
import { configSchema } from '../config/schema.ts'
import type { Settings } from '../config/settings.ts'
import { formatDuration } from '../duration.ts'
import { readDatabaseProxy } from '../forward-proxy.ts'
import { silent } from '../log.ts'
import { addressProblems, checkConfig } from './check-config.ts'

/** What the command prints. @throws ProxyError CONFIG_INVALID, with every mistake that would keep the proxy from starting */
export async function configCommand(
  what: string,
  flags: Readonly<Record<string, unknown>>,
  environment: NodeJS.ProcessEnv,
): Promise<string> {
  if (what === 'schema') return JSON.stringify(configSchema(), null, 2)
  const config = await loadConfig(flags, [], environment)
  const count = config.endpoints.length
  const { defaultFile } = config
  const file = defaultFile?.unusedBecause === undefined ? defaultFile?.path : undefined
  const called = file === undefined ? 'The configuration' : `The configuration in ${file}`
  const good = `${called} is good: ${count} ${count === 1 ? 'endpoint' : 'endpoints'}.`
  if (config.settings['syntax-only']) {
    if (what === 'check') return `${good} Files and addresses were not checked.`
  } else {
    const warnings: string[] = []
    const warn = (message: string) => void warnings.push(`Warning: ${message}`)
    if (file !== undefined && defaultFile?.othersMayWrite) warn(`${file}: other users can write it; use chmod 600`)
    const log = { ...silent, warn: (_fields: object, message: string) => warn(message) }
    await checkConfig(config, log, () => addressProblems(config, warn))
    if (what === 'check') return [...warnings, good].join('\n')
  }
  const ofProcess = valuesOf(
    config.settings,
    inFile.filter(name => optionSpec(name).perProcess),
  )
  const from = file === undefined ? '' : `# from ${file}\n`
  return from + stringify({ ...ofProcess, endpoints: config.endpoints.map(toYaml) }).trimEnd()
}

const inFile = optionNames.filter(mayBeInFile)

/** As in a file, without secrets. */
function toYaml({ name, settings, localUsers, sync }: EndpointConfig): object {
  const users = localUsers.map(({ passwordHash, ...user }) => ({
    name: user.name,
    ...(user.user ? { user: user.user } : {}),
    ...(user.passwordFile ? { 'password-file': user.passwordFile } : {}),
    ...(user.passwordEnv ? { 'password-env': user.passwordEnv } : {}),
    ...(passwordHash ? { 'password-hash': '(hidden)' } : {}),
  }))
  return {
    ...(name ? { name } : {}),
    ...valuesOf(
      settings,
      inFile.filter(name => !optionSpec(name).perProcess),
    ),
    ...(users.length > 0 ? { 'local-users': users } : {}),
    ...(sync ? { sync: valuesOf(sync.settings, SYNC_KEYS) } : {}),
  }
}

function valuesOf(settings: Settings, names: readonly OptionName[]): Record<string, unknown> {
  const isSet = (value: unknown) => value !== undefined && !(Array.isArray(value) && value.length === 0)
  const values = names.filter(name => isSet(settings[name])).map(name => [name, toYamlValue(name, settings[name])])
  return Object.fromEntries(values)
}

function toYamlValue(name: OptionName, value: unknown): unknown {
  // Its URL may hold a password.
  if (name === 'proxy') return readDatabaseProxy(value as string)?.shown
  if (name === 'tunnel' && value !== undefined) return redact(value as string)
  return optionSpec(name).kind === 'duration' ? formatDuration(value as number) : value
}
