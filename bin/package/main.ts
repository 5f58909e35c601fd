/**
 * Makes everything that a release has into dist/release/, and prints its sizes:
 * node --import=tsx bin/package/main.ts [--only STEP]...
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeChart } from './chart.ts'
import { type Context, MissingTool, type Step } from './context.ts'
import { makeDebs } from './deb.ts'
import { makeExecutables } from './executables.ts'
import { makeFormulas } from './formulas.ts'
import { makeImage } from './image.ts'
import { makeNpmPackage } from './npm.ts'
import { makeRpms } from './rpm.ts'
import { makeSbom } from './sbom.ts'
import { printSizes, writeSums } from './sums.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** In this order: the packages contain the executables. */
const STEPS: Record<string, Step> = {
  executables: makeExecutables,
  sbom: makeSbom,
  deb: makeDebs,
  rpm: makeRpms,
  formulas: makeFormulas,
  npm: makeNpmPackage,
  image: makeImage,
  chart: makeChart,
}

const { values } = parseArgs({ options: { only: { type: 'string', multiple: true } } })
const names = values.only ?? Object.keys(STEPS)
const unknown = names.find(name => !(name in STEPS))
if (unknown !== undefined) throw new Error(`Unknown step ${unknown}. Steps: ${Object.keys(STEPS).join(', ')}`)

const release = join(root, 'dist/release')
const temporary = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-package-'))
// With --only, the other files stay.
if (!values.only) await rm(release, { recursive: true, force: true })
await mkdir(release, { recursive: true })
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
const context: Context = { version, release, temporary, log: line => process.stdout.write(`${line}\n`) }
try {
  for (const name of names) {
    const started = performance.now()
    try {
      const files = await STEPS[name]!(context)
      context.log(`${name}: ${files.length} files in ${((performance.now() - started) / 1_000).toFixed(0)} s`)
    } catch (error) {
      if (!(error instanceof MissingTool)) throw error
      context.log(`${name}: not made: ${error.message}`)
    }
  }
  context.log(await printSizes(release, await writeSums(release)))
} finally {
  await rm(temporary, { recursive: true })
}
