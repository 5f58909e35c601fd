/** `mysql-iam-proxy config check|show|schema` */
import { stringify } from 'yaml'
import { mayBeInFile, SYNC_KEYS } from '../config/keys.ts'
import { type EndpointConfig, loadConfig } from '../config/load.ts'
import { type OptionName, optionNames, optionSpec } from '../config/options.ts'
import { toProxyOptions } from '../config/proxy-options.ts'
import { configSchema } from '../config/schema.ts'
import type { Settings } from '../config/settings.ts'
import { silent } from '../log.ts'
import { createProxy } from '../proxy/proxy.ts'
import { toJob } from '../sync-targets/job.ts'

/** What the command prints. @throws ProxyError CONFIG_INVALID */
export async function configCommand(
  what: string,
  flags: Readonly<Record<string, unknown>>,
  environment: NodeJS.ProcessEnv,
): Promise<string> {
  if (what === 'schema') return JSON.stringify(configSchema(), null, 2)
  const config = await loadConfig(flags, [], environment)
  for (const endpoint of config.endpoints) {
    createProxy(await toProxyOptions(endpoint, silent))
    if (endpoint.sync) await toJob(endpoint.sync)
  }
  const count = config.endpoints.length
  if (what === 'check') return `The configuration is good: ${count} ${count === 1 ? 'endpoint' : 'endpoints'}.`
  return stringify({
    ...valuesOf(
      config.settings,
      inFile.filter(name => optionSpec(name).perProcess),
    ),
    endpoints: config.endpoints.map(toYaml),
  }).trimEnd()
}

const inFile = optionNames.filter(mayBeInFile)

/** As a file would say it, without secrets. */
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
    ...(sync ? { sync: valuesOf(sync, SYNC_KEYS) } : {}),
  }
}

function valuesOf(settings: Settings, names: readonly OptionName[]): Record<string, unknown> {
  const isSet = (value: unknown) => value !== undefined && !(Array.isArray(value) && value.length === 0)
  return Object.fromEntries(
    names.filter(name => isSet(settings[name])).map(name => [name, toYamlValue(name, settings[name])]),
  )
}

function toYamlValue(name: OptionName, value: unknown): unknown {
  if (optionSpec(name).kind !== 'duration') return value
  const milliseconds = value as number
  if (milliseconds > 0 && milliseconds < 1) return `${milliseconds * 1_000}us`
  return milliseconds % 1_000 === 0 ? `${milliseconds / 1_000}s` : `${milliseconds}ms`
}
