/** `mysql-iam-proxy trust update`: downloads the CA certificates of RDS from AWS, and says what is new. */
import { bundleUrl, download, GLOBAL_BUNDLE_URL } from '../aws/trust-store.ts'
import type { Settings } from '../config/settings.ts'
import { DEFAULT_PORT, parseRemote, rdsEndpointProblem, regionOf } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { OptionNames } from '../option-values.ts'
import { bundleFile, defaultCacheFolder } from '../upstream/bundle-cache.ts'
import { MAX_BUNDLE_BYTES, parseBundle, type RdsBundle, type RdsRoot, rootsOfRegion } from '../upstream/rds-bundle.ts'
import { noTrustStore, type RegionUpdate, saveRegion } from '../upstream/region-bundle.ts'

/** The text at a URL. */
export type Fetch = (url: string) => Promise<string>

/**
 * Updates the region of `rds-endpoint` or `region`, or else all commercial regions.
 * @param names how the settings were written, for errors
 * @throws ProxyError CONFIG_INVALID, TRUST_UPDATE_FAILED; then the files stay as they were
 */
export async function trustUpdate(
  settings: Settings,
  names: OptionNames,
  print: (line: string) => void,
  stop: AbortSignal,
  fetch: Fetch = url => download(url, { maxBytes: MAX_BUNDLE_BYTES, signal: stop }),
): Promise<void> {
  const folder = settings['bundle-cache'] ?? defaultCacheFolder()
  if (folder === undefined) {
    throw new ProxyError('CONFIG_INVALID', `${names.place('bundleCache')}: there is no home directory; name a folder`)
  }
  const region = regionIn(settings, names)
  const url = region === undefined ? GLOBAL_BUNDLE_URL : bundleUrl(region)
  if (url === undefined) throw noTrustStore(region!)
  const bundle = parseBundle(await fetch(url), url)
  const byRegion = rootsByRegion(bundle, region, url)
  print(`Downloaded ${certificates(bundle.roots.length)} from ${url}`)
  if (bundle.skipped.length > 0) print(`Ignored ${describeSkipped(bundle)}`)
  const updates: RegionUpdate[] = []
  for (const [name, roots] of byRegion) updates.push(await saveRegion(name, folder, roots))
  for (const update of updates) report(update, folder, print)
  if (updates.every(({ isNew, removed }) => isNew.length + removed.length === 0)) print('Nothing is new.')
  else print('Running proxies that use this folder trust them from their next login on.')
}

/** undefined: all. @throws ProxyError CONFIG_INVALID for an endpoint without a region in its name */
function regionIn(settings: Settings, names: OptionNames): string | undefined {
  const { region, 'rds-endpoint': rdsEndpoint } = settings
  if (region !== undefined || rdsEndpoint === undefined) return region
  const problem = rdsEndpointProblem({ rdsEndpoint }, names)
  if (problem) throw new ProxyError('CONFIG_INVALID', problem)
  return regionOf(parseRemote(rdsEndpoint, DEFAULT_PORT, names.place('rdsEndpoint')).host)
}

/** @throws ProxyError TRUST_UPDATE_FAILED */
function rootsByRegion(bundle: RdsBundle, region: string | undefined, url: string): Map<string, RdsRoot[]> {
  if (region !== undefined) return new Map([[region, rootsOfRegion(bundle, region, url)]])
  // A root of a region that another trust store serves does not belong here.
  const foreign = bundle.roots.find(root => !bundleUrl(root.region)?.startsWith(new URL('/', url).href))
  if (foreign) throw new ProxyError('TRUST_UPDATE_FAILED', `${url} holds a CA of another partition: ${foreign.name}`)
  const regions = [...new Set(bundle.roots.map(root => root.region))].sort()
  return new Map(regions.map(name => [name, bundle.roots.filter(root => root.region === name)]))
}

function report(
  { region, isNew, removed, isSaved, problem }: RegionUpdate,
  folder: string,
  print: (line: string) => void,
) {
  if (problem) throw problem
  if (isNew.length > 0) print(`\nNew for ${region}:`)
  for (const root of isNew) print(describe(root))
  if (removed.length > 0) print(`\nNo longer trusted for ${region}, because AWS removed them:`)
  for (const root of removed) print(describe(root))
  if (isSaved && isNew.length + removed.length > 0) print(`Saved in ${bundleFile(folder, region)}`)
}

function describe({ name, expires, fingerprint }: RdsRoot): string {
  return `  ${name}, expires ${expires.toISOString().slice(0, 10)}\n    SHA-256 ${fingerprint}`
}

function describeSkipped({ skipped }: RdsBundle): string {
  const reasons = [...new Set(skipped.map(({ reason }) => reason))]
  return `${certificates(skipped.length)}: ${reasons.join(', ')}`
}

function certificates(count: number): string {
  return `${count} CA ${count === 1 ? 'certificate' : 'certificates'}`
}
