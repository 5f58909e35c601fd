/** The formula for Homebrew and the manifest for Scoop. test/package/install.ts lets ruby read the formula. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { MissingTool } from '../../bin/package/context.ts'
import { makeFormulas } from '../../bin/package/formulas.ts'

const TARGETS = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64', 'win-x64.exe']
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

test('the formula and the manifest name each executable with its own sum', async t => {
  const release = t.testdir(Object.fromEntries(TARGETS.map(target => [`mysql-iam-proxy-1.2.3-${target}`, target])))
  const files = await makeFormulas({ version: '1.2.3', release, temporary: release, log: () => {} })
  t.same(files, ['mysql-iam-proxy.1', 'mysql-iam-proxy.rb', 'mysql-iam-proxy.json'])
  const formula = readFileSync(join(release, 'mysql-iam-proxy.rb'), 'utf8')
  const downloads = [...formula.matchAll(/url "(.*)"\n +sha256 "(.*)"/g)].map(([, url, sum]) => [url, sum])
  const base = 'https://github.com/example/mysql-iam-proxy/releases/download/v1.2.3'
  t.same(downloads, [
    ...TARGETS.slice(0, 4).map(target => [`${base}/mysql-iam-proxy-1.2.3-${target}`, sha256(target)]),
    [`${base}/mysql-iam-proxy.1`, sha256(readFileSync(join(release, 'mysql-iam-proxy.1'), 'utf8'))],
  ])

  const manifest = JSON.parse(readFileSync(join(release, 'mysql-iam-proxy.json'), 'utf8'))
  t.match(manifest, {
    version: '1.2.3',
    architecture: {
      '64bit': { url: `${base}/mysql-iam-proxy-1.2.3-win-x64.exe#/mysql-iam-proxy.exe`, hash: sha256('win-x64.exe') },
    },
    bin: 'mysql-iam-proxy.exe',
  })
  const { url } = manifest.autoupdate.architecture['64bit']
  t.equal(url.replaceAll('$version', '1.2.3'), manifest.architecture['64bit'].url, 'the address of later versions')
})

test('without the executables, the step says so', async t => {
  const release = t.testdir({})
  const error = await makeFormulas({ version: '1.2.3', release, temporary: release, log: () => {} }).catch(e => e)
  t.ok(error instanceof MissingTool)
  t.match(error.message, 'mysql-iam-proxy-1.2.3-darwin-arm64 is missing')
})
