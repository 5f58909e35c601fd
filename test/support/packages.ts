/** Programs that only Debian's packages have. */
import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Messages in English, and /usr/sbin, which is not on everybody's PATH. */
export const env = {
  ...process.env,
  LC_ALL: 'C',
  PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
}

/** Shell: fetches apt's lists where there are none. */
export const updateLists = 'ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt-get update -q'

// The policy keeps packages from starting services. Lists that have grown old name packages that are no longer there.
const script = `
${updateLists}
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
install() { apt-get install -y --no-install-recommends "$@"; }
install "$@" || { apt-get update -q && install "$@"; }`

/**
 * Where `isPresent` says no, root installs Debian's packages.
 * @param what is needed, for people
 * @throws Error that says what to install
 */
export async function ensurePackages(what: string, isPresent: () => boolean, packages: string[]): Promise<void> {
  if (isPresent()) return
  const advice = `The tests need ${what}. Please run as root: apt-get install ${packages.join(' ')}`
  if (process.getuid?.() !== 0) throw new Error(advice)
  // apt-get serves one at a time. Whoever waits for the lock finds everything installed, and there is nothing more to do.
  await run('flock', ['/run/mysql-iam-proxy-test.lock', 'sh', '-ec', script, 'sh', ...packages], {
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 64 << 20,
  })
  if (!isPresent()) throw new Error(advice)
}

/** The path of `program`, whose Debian package is installed where it is missing. @throws Error that says what to install */
export async function ensureProgram(program: string, debianPackage: string): Promise<string> {
  await ensurePackages(program, () => findProgram(program) !== undefined, [debianPackage])
  return findProgram(program)!
}

/** Its path: on the PATH, or where an ordinary user's does not look. */
export function findProgram(name: string): string | undefined {
  return env.PATH.split(delimiter)
    .filter(directory => directory !== '')
    .map(directory => join(directory, name))
    .find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
