/**
 * Programs from another Debian release, unpacked into the cache with their libraries. They run with their own dynamic
 * loader, so nothing is installed and root is not needed.
 */
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeAptSettings } from '../support/mysql.ts'
import { cached, run } from './install.ts'

const triplet = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`
const loader = process.arch === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2'

/** Perl is only for scripts beside the programs. */
const download = `
apt-get "$@" update -qq
mkdir debs
packages=$(apt-get "$@" install --print-uris -qq -y --no-install-recommends $PACKAGES |
  sed -nE "s/^'[^']*' ([^_ ]+)_.*/\\1/p" | grep -v perl)
(cd debs && apt-get "$@" download -qq $packages)
for package in debs/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar x --no-same-owner --exclude=./etc --exclude=./usr/share/doc \\
    --exclude=./usr/share/man --exclude=./usr/share/locale --exclude='./usr/lib/*/gconv'
done
rm -r debs`

/**
 * @param suite of Debian: trixie, sid
 * @param pattern of the programs in /usr/bin and /usr/sbin that are wanted
 * @returns its folder, and the environment in which these programs are the first on the PATH
 */
export async function debianRoot(
  suite: string,
  pattern: RegExp,
  ...packages: string[]
): Promise<{ root: string; env: { PATH: string } }> {
  const root = await cached(`debian-${suite}-${packages.join('-')}`, async directory => {
    const apt = await writeAptSettings(join(directory, 'apt'), suite)
    await run('sh', ['-ec', download, 'sh', ...apt], { PACKAGES: packages.join(' ') }, directory)
    await rm(join(directory, 'apt'), { recursive: true })
  })
  const bin = join(root, 'wrappers')
  await mkdir(bin, { recursive: true })
  const libraries = [triplet, '', 'mysql-router'].map(name => join(root, 'usr/lib', name)).join(':')
  for (const folder of ['usr/bin', 'usr/sbin']) {
    for (const name of await readdir(join(root, folder)).catch(() => [])) {
      if (!pattern.test(name)) continue
      const command = `'${join(root, 'usr/lib', triplet, loader)}' --library-path '${libraries}' '${join(root, folder, name)}'`
      // The client libraries look there for their authentication plugins. MySQL 9 has mysql_native_password only as one.
      const plugins = `MARIADB_PLUGIN_DIR='${join(root, 'usr/lib', triplet, 'libmariadb3/plugin')}' LIBMYSQL_PLUGIN_DIR='${join(root, 'usr/lib/mysql/plugin')}'`
      const script = `#!/bin/sh\n${plugins} exec ${command} "$@"\n`
      await writeFile(join(bin, name), script)
      await chmod(join(bin, name), 0o755)
    }
  }
  return { root, env: { PATH: `${bin}:${process.env['PATH'] ?? ''}` } }
}
