/** The workflows in .github, as far as actionlint doesn't look: pinned actions, and names of this repository. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { parse } from 'yaml'
import { chartFile } from '../bin/package/chart.ts'
import { imageFile } from '../bin/package/image.ts'
import packageJson from '../package.json' with { type: 'json' }
import type { Value } from './support/examples.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const directory = `${root}.github/workflows`
const workflows = readdirSync(directory).map((name): [name: string, text: string] => [
  name,
  readFileSync(`${directory}/${name}`, 'utf8'),
])

function stepsOf(text: string): Value[] {
  return Object.values(parse(text).jobs as Value).flatMap((job: Value) => job.steps)
}

test('each action is pinned to one commit, everywhere the same, with its version', async t => {
  const commits = new Map<string, string>()
  for (const [name, text] of workflows) {
    for (const [, action = '', pin = ''] of text.matchAll(/uses: ([\w/-]+)(.*)/g)) {
      t.match(pin, /^@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, `${name}: ${action}`)
      t.equal(commits.get(action) ?? pin, pin, `${name}: ${action}`)
      commits.set(action, pin)
    }
  }
  t.ok(commits.size > 5)
})

test('each workflow gets no permission but reading, and each job a time limit', async t => {
  for (const [name, text] of workflows) {
    const { permissions, jobs } = parse(text)
    t.same(permissions, { contents: 'read' }, name)
    for (const [id, job] of Object.entries<Value>(jobs)) t.ok(job['timeout-minutes'], `${name}: ${id}`)
  }
})

test('the scripts and files that workflows name exist', async t => {
  for (const [name, text] of workflows) {
    for (const { run = '' } of stepsOf(text)) {
      for (const [, script = ''] of run.matchAll(/\bnpm run ([\w:-]+)/g)) t.ok(script in packageJson.scripts, script)
      for (const [path] of run.matchAll(/\b(test|bin|docs|src)\/[\w/.-]+\.ts\b/g)) t.ok(existsSync(root + path), path)
    }
    t.notMatch(
      text,
      /\$\{\{[^}]*(head_ref|event\.(issue|pull_request|comment))/,
      `${name}: no text of strangers in a script`,
    )
  }
})

test('the release publishes the files of npm run package', async t => {
  const text = workflows.find(([name]) => name === 'release.yml')![1]
  const globs = [...text.matchAll(/"?\$FILES"?\/(mysql-iam-proxy-\S+?)\)/g)].map(([, glob]) => glob!)
  const files = [imageFile('1.2.3'), chartFile('1.2.3'), 'mysql-iam-proxy-1.2.3.tgz']
  const others = ['mysql-iam-proxy-1.2.3-linux-x64', 'mysql-iam-proxy_1.2.3_amd64.deb', 'SHA256SUMS']
  t.equal(globs.length, files.length)
  for (const glob of globs) {
    t.equal([...files, ...others].filter(file => matches(file, glob)).length, 1, `${glob} is one file`)
  }
  for (const file of files)
    t.ok(
      globs.some(glob => matches(file, glob)),
      file,
    )

  const { jobs } = parse(text)
  t.same(jobs.publish.needs, ['test', 'package', 'try'], 'nothing is published before it was tested')
  t.equal(jobs.publish.environment, 'release')
  const writers = Object.entries<Value>(jobs).filter(([, job]) => job.permissions)
  t.same(
    writers.map(([id]) => id),
    ['publish'],
  )
  t.notOk(
    jobs.publish.steps.some((step: Value) => /checkout/.test(step.uses ?? '') || /npm (ci|run)/.test(step.run ?? '')),
    'the job with these permissions runs no code of the repository',
  )
})

/** A shell pattern with * and [0-9]. */
function matches(file: string, glob: string): boolean {
  return new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll('*', '.*')}$`).test(file)
}
