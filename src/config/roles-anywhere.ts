/** The options of IAM Roles Anywhere from settings. */
import type { ProxyOptions } from '../proxy/options.ts'
import type { Settings } from './settings.ts'

type RolesAnywhereOptions = NonNullable<ProxyOptions['rolesAnywhere']>

/** undefined without any such setting. A required one may be missing, which the checks of the options report. */
export function toRolesAnywhere(settings: Settings): RolesAnywhereOptions | undefined {
  const given = {
    keyPassphraseFile: settings['roles-anywhere-key-passphrase-file'],
    intermediatesFile: settings['roles-anywhere-intermediates'],
    sessionName: settings['roles-anywhere-session-name'],
    endpoint: settings['roles-anywhere-endpoint'],
  }
  const required = {
    certificateFile: settings['roles-anywhere-certificate'],
    keyFile: settings['roles-anywhere-key'],
    trustAnchorArn: settings['roles-anywhere-trust-anchor'],
    profileArn: settings['roles-anywhere-profile'],
    roleArn: settings['roles-anywhere-role'],
  }
  if (Object.values({ ...given, ...required }).every(value => value === undefined)) return undefined
  const duration = settings['roles-anywhere-duration']
  return { ...given, ...required, duration } as RolesAnywhereOptions
}
