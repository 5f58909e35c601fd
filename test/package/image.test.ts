/** The image and the chart without buildah and Helm. `npm run try-image` runs the real image. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DockerfileParser } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import { test } from 'tap'
import { chartFile, makeChart } from '../../bin/package/chart.ts'
import { MissingTool } from '../../bin/package/context.ts'
import { imageFile, isUnreachable, makeImage } from '../../bin/package/image.ts'
import { readExample } from '../support/examples.ts'

const text = readExample('docker/release.Dockerfile')
const instructions = DockerfileParser.parse(text).getInstructions()
const last = (keyword: string): string =>
  instructions.findLast(instruction => instruction.getKeyword() === keyword)?.getArgumentsContent() ?? ''

const contextOf = (release: string) => ({ version: '1.2.3', release, temporary: release, log: () => {} })

test('the Dockerfile of the release is valid, and its image runs as a numeric user without a base', async t => {
  t.same(validate(text), [])
  const froms = DockerfileParser.parse(text).getFROMs()
  for (const from of froms.slice(0, -1)) {
    t.equal(from.getPlatformFlag()?.getValue(), '$BUILDPLATFORM', 'no program of another processor runs')
    t.match(from.getImageTag(), /^\d/)
  }
  t.equal(froms.at(-1)?.getImage(), 'scratch')
  t.match(last('USER'), /^[1-9]\d*:[1-9]\d*$/)
  t.equal(last('STOPSIGNAL'), 'SIGTERM')
  const [program] = JSON.parse(last('ENTRYPOINT'))
  t.match(last('ENV'), `PATH=${program.slice(0, program.lastIndexOf('/'))}`, 'health checks find the program by name')
})

test('the Dockerfile takes the executable of its processor', async t => {
  const run = instructions.findLast(instruction => instruction.getKeyword() === 'RUN')?.getRawArgumentsContent() ?? ''
  for (const [architecture, name] of Object.entries({ amd64: 'x64', arm64: 'arm64' })) {
    const directory = t.testdir()
    for (const target of ['x64', 'arm64'])
      writeFileSync(join(directory, `mysql-iam-proxy-1.2.3-linux-${target}`), target)
    writeFileSync(join(directory, 'THIRD-PARTY-NOTICES'), 'notices')
    const command = run.replace(
      /(?<= )\/(release|image)\//g,
      (_path, name) => `${directory}/${name === 'release' ? '' : 'image/'}`,
    )
    execFileSync('sh', ['-ec', command], { env: { ...process.env, TARGETARCH: architecture } })
    t.equal(readFileSync(join(directory, 'image/usr/bin/mysql-iam-proxy'), 'utf8'), name)
  }
})

test('without buildah or an executable, npm run package says what is missing', async t => {
  const directory = t.testdir()
  await t.rejects(
    makeImage(contextOf(directory)),
    new MissingTool(`${directory}/mysql-iam-proxy-1.2.3-linux-x64 is missing`),
  )
  for (const target of ['x64', 'arm64']) writeFileSync(join(directory, `mysql-iam-proxy-1.2.3-linux-${target}`), '')
  const { PATH } = process.env
  process.env['PATH'] = directory
  t.teardown(() => {
    process.env['PATH'] = PATH
  })
  await t.rejects(makeImage(contextOf(directory)), { constructor: MissingTool, message: /apt-get install buildah/ })
  t.equal(imageFile('1.2.3'), 'mysql-iam-proxy-1.2.3-image.tar')
})

test('an unreachable registry is a missing tool, and another error of buildah is not', async t => {
  const source =
    'Error: creating build container: initializing source docker://debian:12-slim: pinging container registry'
  t.ok(
    isUnreachable(
      `${source} registry-1.docker.io: Get "https://registry-1.docker.io/v2/": dial tcp: lookup …: no such host`,
    ),
  )
  t.notOk(isUnreachable('error building at STEP "RUN apt-get update": exit status 100'))
})

test('the archive of the chart has all its files, and two archives are equal', async t => {
  const directory = t.testdir()
  const archives = ['first', 'second'].map(name => join(directory, name))
  for (const release of archives) {
    mkdirSync(release)
    t.same(await makeChart(contextOf(release)), [chartFile('1.2.3')])
  }
  const [first, second] = archives.map(release => readFileSync(join(release, chartFile('1.2.3'))))
  t.ok(first!.equals(second!))
  const files = execFileSync('tar', ['-tzf', join(archives[0]!, chartFile('1.2.3'))], { encoding: 'utf8' }).split('\n')
  for (const file of ['Chart.yaml', 'values.yaml', 'values.schema.json', 'templates/deployment.yaml', '.helmignore']) {
    t.ok(files.includes(`mysql-iam-proxy/${file}`), file)
  }
})
