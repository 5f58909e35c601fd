/** Where things of a service are: the program that it starts, and the folders of its user. */
import { posix, win32 } from 'node:path'
import { ProxyError } from '../errors.ts'

/** The folders that the files of a service go to, absolute. */
export interface HomeOfService {
  /** the home directory */
  home: string
  /** of systemd: XDG_CONFIG_HOME or ~/.config */
  config: string
  /** of Windows: %LOCALAPPDATA% */
  local: string
}

/** @throws ProxyError CONFIG_INVALID without a home directory */
export function homeOfService(environment: NodeJS.ProcessEnv, platform: NodeJS.Platform): HomeOfService {
  const { isAbsolute, join } = platform === 'win32' ? win32 : posix
  const home = (platform === 'win32' ? environment['USERPROFILE'] : environment['HOME']) || ''
  if (!isAbsolute(home)) {
    const name = platform === 'win32' ? 'USERPROFILE' : 'HOME'
    throw invalid(`service needs a home directory, and ${name} does not name one`)
  }
  const given = (name: string, otherwise: string) => {
    const folder = environment[name] ?? ''
    return isAbsolute(folder) ? folder : otherwise
  }
  return {
    home,
    config: given('XDG_CONFIG_HOME', join(home, '.config')),
    local: given('LOCALAPPDATA', join(home, 'AppData', 'Local')),
  }
}

export interface ThisProcess {
  /** process.execPath */
  execPath: string
  /** process.execArgv */
  execArgv: readonly string[]
  /** process.argv[1]; undefined in a single executable */
  script: string | undefined
  /** The real path of a file, without links; undefined if there is none. */
  realPath(path: string): string | undefined
}

/** Caches of npx, pnpm dlx, yarn dlx and bunx, which their program may delete. */
const CACHES: readonly [folder: RegExp, program: string][] = [
  [/[\\/]_npx[\\/]/, 'npx'],
  [/[\\/](?:pnpm[\\/])?dlx(?:-\w+)?[\\/]/, 'dlx'],
  [/[\\/]bunx-[^\\/]+[\\/]/, 'bunx'],
]

/** Where package managers put links that stay when the version changes, as /opt/homebrew/Cellar/node/24.1.0 does not. */
const STABLE_FOLDERS = ['/opt/homebrew/bin', '/home/linuxbrew/.linuxbrew/bin', '/usr/local/bin', '/usr/bin']

/**
 * How a service manager starts this program: a single executable by its path; otherwise Node.js by its path, with its options
 * and the script. A manager has no PATH of a shell, so `#!/usr/bin/env node` would not find Node.js.
 * @throws ProxyError CONFIG_INVALID for a program in a cache
 */
export function programOfService({ execPath, execArgv, script, realPath }: ThisProcess): string[] {
  const stable = (path: string) => {
    const real = realPath(path) ?? path
    const links = STABLE_FOLDERS.map(folder => `${folder}/${posix.basename(path)}`)
    return links.find(link => realPath(link) === real) ?? path
  }
  if (script === undefined) return [stable(execPath)]
  const real = realPath(script) ?? script
  const cache = CACHES.find(([folder]) => folder.test(real) || folder.test(script))
  if (cache) {
    throw invalid(
      `service: ${cache[1]} keeps this program in its cache, which it may delete; install it, for example with npm install -g mysql-iam-proxy`,
    )
  }
  return [stable(execPath), ...execArgv, real]
}

/** Secrets that last for hours at most, or that must not stand in a file that everybody can read. */
const SECRET = /^AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN|ACCESS_KEY_ID)$|PASSWORD|SECRET|TOKEN$/

/** What the proxy, the AWS SDK and Node.js read. */
const READ =
  /^(?:AWS_|MYSQL_IAM_PROXY_|OTEL_|(?:https?|all|no)_proxy$|NODE_EXTRA_CA_CERTS$|NODE_OPTIONS$|SSH_AUTH_SOCK$)/i

export interface CarriedEnvironment {
  kept: Record<string, string>
  /** names that the proxy would read here, and that the service does not get */
  left: string[]
}

/**
 * The variables that `names` ask for. Others of this shell are left out: a service has the same settings at each start.
 * @throws ProxyError CONFIG_INVALID for a missing variable, and for a secret
 */
export function carriedEnvironment(names: readonly string[], environment: NodeJS.ProcessEnv): CarriedEnvironment {
  const kept: Record<string, string> = {}
  for (const name of names) {
    const value = environment[name]
    if (!/^[A-Za-z_]\w*$/.test(name)) throw invalid(`--keep-env: "${name}" is not the name of a variable`)
    if (SECRET.test(name)) {
      throw invalid(
        `--keep-env: ${name} is a secret, and would stand in a file of the service; use a profile or a file instead`,
      )
    }
    if (value === undefined) throw invalid(`--keep-env: ${name} is not set`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what it looks for
    if (/[\x00-\x1f\x7f]/.test(value)) throw invalid(`--keep-env: ${name} has a control character`)
    kept[name] = value
  }
  const left = Object.keys(environment).filter(name => READ.test(name) && !(name in kept) && environment[name])
  return { kept, left: left.sort() }
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
