/** The place where a configuration file is looked for if nothing names a file or an endpoint. */
import { posix, win32 } from 'node:path'

const FOLDER = 'mysql-iam-proxy'
const FILE = 'config.yaml'

/**
 * The path of the default configuration file; undefined without a home directory, as in many containers and system units.
 * Linux and other systems follow the XDG Base Directory Specification, which ignores a relative path.
 * https://specifications.freedesktop.org/basedir-spec/latest/
 * @param home the home directory as the environment says it, so that a process without HOME reads no file of somebody else
 */
export function defaultConfigFile(
  environment: NodeJS.ProcessEnv,
  platform: NodeJS.Platform = process.platform,
  home: string | undefined = homeIn(environment, platform),
): string | undefined {
  switch (platform) {
    case 'win32': {
      const folder = environment.APPDATA || (home && win32.join(home, 'AppData', 'Roaming'))
      return folder && win32.isAbsolute(folder) ? win32.join(folder, FOLDER, FILE) : undefined
    }
    case 'darwin':
      return home && posix.isAbsolute(home)
        ? posix.join(home, 'Library', 'Application Support', FOLDER, FILE)
        : undefined
    default: {
      const { XDG_CONFIG_HOME: given } = environment
      const folder = given && posix.isAbsolute(given) ? given : home && posix.join(home, '.config')
      return folder && posix.isAbsolute(folder) ? posix.join(folder, FOLDER, FILE) : undefined
    }
  }
}

function homeIn(environment: NodeJS.ProcessEnv, platform: NodeJS.Platform): string | undefined {
  return (platform === 'win32' ? environment.USERPROFILE : environment.HOME) || undefined
}
