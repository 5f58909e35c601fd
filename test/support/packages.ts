/** Programs that only Debian's packages have. */
import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

// messages in English, and /usr/sbin, which is not on everybody's PATH
const env = {
  ...process.env,
  LC_ALL: 'C',
  PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
  DEBIAN_FRONTEND: 'noninteractive',
}

// The lock is that of mariadb.ts: apt-get serves one at a time. The policy keeps packages from starting services. Lists
// that have grown old name packages that are no longer there.
const script = `
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt-get update -q
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
install="apt-get install -y --no-install-recommends $1"
$install || { apt-get update -q && $install; }`

/**
 * The path of `program`. Where it is missing, root installs the Debian package that has it.
 * @throws Error that says what to install
 */
export async function ensureProgram(program: string, debianPackage: string): Promise<string> {
  const present = find(program)
  if (present) return present
  const advice = `The tests need ${program}. Please run as root: apt-get install ${debianPackage}`
  if (process.getuid?.() !== 0) throw new Error(advice)
  await run('flock', ['/run/mysql-iam-proxy-test.lock', 'sh', '-ec', script, 'sh', debianPackage], { env })
  const installed = find(program)
  if (!installed) throw new Error(advice)
  return installed
}

function find(program: string): string | undefined {
  return env.PATH.split(delimiter)
    .filter(directory => directory !== '')
    .map(directory => join(directory, program))
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
