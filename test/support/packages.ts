/** Programs from Debian packages. */
import { execFile } from 'node:child_process'
import { delimiter } from 'node:path'
import { promisify } from 'node:util'
import { findProgram as findProgramIn } from '../../src/demo/mysqld.ts'

const run = promisify(execFile)

/** Sets English messages and adds /usr/sbin to PATH. */
export const env = {
  ...process.env,
  LC_ALL: 'C',
  PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
}

/** Shell: downloads apt's lists if there are none. */
export const updateLists = 'ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt-get update -q'

// The policy keeps packages from starting services. Old lists name packages that no longer exist.
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
 * Installs Debian packages if `isPresent` is false and the user is root.
 * @param what the name for error messages
 * @throws Error that says what to install
 */
export async function ensurePackages(what: string, isPresent: () => boolean, packages: string[]): Promise<void> {
  if (isPresent()) return
  const advice = `The tests need ${what}. Please run as root: apt-get install ${packages.join(' ')}`
  if (process.getuid?.() !== 0) throw new Error(advice)
  // apt-get has a lock. After the wait, another process may have installed everything.
  await run('flock', ['/run/mysql-iam-proxy-test.lock', 'sh', '-ec', script, 'sh', ...packages], {
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 64 << 20,
  })
  if (!isPresent()) throw new Error(advice)
}

/** The path of `program`. Installs its Debian package if it is missing. @throws Error with the package to install */
export async function ensureProgram(program: string, debianPackage: string): Promise<string> {
  await ensurePackages(program, () => findProgram(program) !== undefined, [debianPackage])
  return findProgram(program)!
}

/** The path of a program: on the PATH, or in a directory that is often missing from it. */
export function findProgram(name: string): string | undefined {
  return findProgramIn(name, env.PATH.split(delimiter))
}
