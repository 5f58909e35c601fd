/** Where the control channels of proxies are: one unix socket or named pipe for each process, for the same user only. */
import { posix, win32 } from 'node:path'

const FOLDER = 'mysql-iam-proxy'

/** Folders that may hold control channels. A proxy uses the first one that it can use; the commands look into all. */
export interface ControlFolders {
  /** of the system, and emptied when it starts: the folder itself is made, but not its parent */
  runtime: readonly string[]
  /** in the home directory; undefined without one */
  home: string | undefined
}

/** In the order in which a proxy tries them. */
export function allFolders({ runtime, home }: ControlFolders): string[] {
  return [...runtime, ...(home ? [home] : [])]
}

/**
 * Linux and other systems follow the XDG Base Directory Specification; systemd names the folder of a unit.
 * https://specifications.freedesktop.org/basedir-spec/latest/
 * @param uid of the process; undefined on Windows
 */
export function controlFolders(
  environment: NodeJS.ProcessEnv,
  platform: NodeJS.Platform = process.platform,
  uid: number | undefined = process.getuid?.(),
): ControlFolders {
  const { join, isAbsolute } = platform === 'win32' ? win32 : posix
  const folder = (name: string, ...below: string[]) => {
    const value = environment[name] ?? ''
    return isAbsolute(value) ? join(value, ...below) : undefined
  }
  switch (platform) {
    case 'win32':
      return {
        runtime: [],
        home: folder('LOCALAPPDATA', FOLDER, 'control') ?? folder('USERPROFILE', 'AppData', 'Local', FOLDER, 'control'),
      }
    case 'darwin':
      return { runtime: [], home: folder('HOME', 'Library', 'Application Support', FOLDER, 'control') }
    default: {
      const [ofUnit = ''] = (environment['RUNTIME_DIRECTORY'] ?? '').split(':')
      // A system unit, and a shell by sudo or cron, lack XDG_RUNTIME_DIR.
      const usual = uid === 0 ? `/run/${FOLDER}` : `/run/user/${uid}/${FOLDER}`
      const found = [isAbsolute(ofUnit) ? ofUnit : undefined, folder('XDG_RUNTIME_DIR', FOLDER) ?? usual]
      return {
        runtime: [...new Set(found.filter(path => path !== undefined))],
        home: folder('XDG_STATE_HOME', FOLDER) ?? folder('HOME', '.local', 'state', FOLDER),
      }
    }
  }
}
