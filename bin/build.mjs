/** Parts of `npm run build` that every system has: rm, cp and chmod are not on Windows. */
import { chmodSync, cpSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const steps = {
  clean() {
    for (const folder of ['dist/bin', 'dist/src']) rmSync(folder, { recursive: true, force: true })
  },
  copy() {
    cpSync('src/admin/page', 'dist/src/admin/page', { recursive: true })
    chmodSync('dist/bin/mysql-iam-proxy.js', 0o755)
  },
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
steps[process.argv[2]]()
