/** `mysql-iam-proxy list`: the databases that the credentials may see. */
import type { MfaCodes } from '../aws/credential-types.ts'
import { resolveSettings, type Settings } from '../config/settings.ts'
import { ERRORS } from '../error-codes.ts'
import { ProxyError } from '../errors.ts'
import { listPolicy } from '../list/actions.ts'
import { toDocument } from '../list/document.ts'
import { type FindOptions, type FindTools, findDatabases } from '../list/find.ts'
import type { Found } from '../list/found.ts'
import { toTable } from '../list/table.ts'
import { wantsColours } from '../text.ts'
import { defaultCacheFolder } from '../upstream/bundle-cache.ts'
import { readCa } from '../upstream/trust.ts'
import { regionNameProblem } from '../value-checks.ts'
import { createProgress } from './progress.ts'

/** Without a terminal, in characters. */
const WIDTH = 80

type Flags = Readonly<Record<string, unknown>>

/**
 * Resolves with the exit code.
 * @throws ProxyError CONFIG_INVALID
 */
export async function list(flags: Flags, stop: AbortSignal, tools?: FindTools): Promise<number> {
  // Both may be repeated here. Other commands take one.
  const settings = resolveSettings({ ...flags, profile: undefined, region: undefined }, process.env)
  const regions = regionsIn(flags, settings)
  if (settings['print-policy']) {
    await write(`${listPolicy({ allRegions: regions === 'all' })}\n`)
    return 0
  }
  const progress = createProgress()
  try {
    const found = await findDatabases({
      ...(await findOptions(flags, settings)),
      regions,
      codes: settings['no-input'] ? undefined : createCodes(stop, progress.clear),
      signal: stop,
      onProgress: progress.show,
      ...(tools ? { tools } : {}),
    })
    progress.clear()
    await write(settings.json ? `${JSON.stringify(toDocument(found), null, 2)}\n` : tableOf(found, regions))
    return exitCodeOf(found)
  } finally {
    progress.clear()
  }
}

/** Resolves when everything is written, because the process ends soon after. A reader such as `head` may leave early. */
async function write(text: string): Promise<void> {
  const { stdout } = process
  await new Promise<void>(resolve => {
    stdout.once('error', () => resolve())
    stdout.write(text, () => resolve())
  })
}

function tableOf(found: Found, regions: FindOptions['regions']): string {
  const { stdout } = process
  return toTable(found, {
    width: Math.min(stdout.columns ?? WIDTH, 120),
    colours: wantsColours(stdout.isTTY),
    withRegion: regions !== undefined,
  })
}

async function findOptions(flags: Flags, settings: Settings): Promise<FindOptions> {
  const profiles = valuesOf(flags['profile'], settings.profile)
  return {
    profiles: profiles.length > 0 ? profiles : [undefined],
    reach: !settings['aws-only'],
    ca: await Promise.all(settings.ca.map(file => readCa(file, '--ca'))),
    caOnly: settings['ca-only'],
    regionBundle: settings['region-bundle'],
    bundleCache: settings['bundle-cache'] ?? defaultCacheFolder(),
  }
}

/** @throws ProxyError CONFIG_INVALID */
function regionsIn(flags: Flags, settings: Settings): FindOptions['regions'] {
  const regions = valuesOf(flags['region'], settings.region)
  if (regions.length === 0) return undefined
  if (regions.length === 1 && regions[0] === 'all') return 'all'
  for (const region of regions) {
    const problem = region === 'all' ? 'all stands alone' : regionNameProblem(region)
    if (problem) throw new ProxyError('CONFIG_INVALID', `--region: ${problem}`)
  }
  return regions
}

function valuesOf(given: unknown, otherwise: string | undefined): string[] {
  return [given ?? otherwise ?? []].flat().map(String)
}

/** Asks for the codes of MFA devices, in sequence; undefined without a terminal. Standard output is for data. */
function createCodes(stop: AbortSignal, beforeQuestion: () => void): MfaCodes | undefined {
  const { stdin: input, stderr: output } = process
  if (!input.isTTY || !output.isTTY) return undefined
  let last: Promise<unknown> = Promise.resolve()
  return {
    async take(serial, profile) {
      const { askForCode } = await import('../sign-in/mfa-question.ts')
      const code = last.then(() => {
        beforeQuestion()
        return askForCode({ input, output }, serial, profile, stop)
      })
      last = code
      return await code
    },
  }
}

/** A missing permission is a warning, unless nothing was found. Anything else that hides databases is an error. */
function exitCodeOf({ complete, problems, databases }: Found): number {
  if (complete) return 0
  const hiding = problems.filter(({ action }) => action === undefined || action.startsWith('rds:'))
  const failed = hiding.find(({ code }) => code !== 'AWS_ACCESS_DENIED')
  if (failed) return ERRORS[failed.code].exitCode
  return databases.length > 0 ? 0 : ERRORS.AWS_ACCESS_DENIED.exitCode
}
