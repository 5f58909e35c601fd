/** The downloaded CA certificates of an endpoint's region: read again when their file changes, and with `auto` downloaded. */
import { bundleUrl, download } from '../aws/trust-store.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import { type Logger, silent } from '../log.ts'
import { NO_BUNDLE, readBundle, removeBundle, versionOfBundle, writeBundle } from './bundle-cache.ts'
import {
  builtInRegions,
  builtInRoots,
  MAX_BUNDLE_BYTES,
  parseBundle,
  type RdsRoot,
  rootsOfRegion,
} from './rds-bundle.ts'

export interface RegionBundle {
  readonly region: string
  /** Whether it downloads on its own */
  readonly isAutomatic: boolean
  /** The downloaded roots, as of the last `refresh` */
  roots(): readonly RdsRoot[]
  /** Whether the last `refresh` is so recent that a login needs no other. */
  isFresh(): boolean
  /** Looks at the file again, and waits for a download that runs. Never rejects. */
  refresh(): Promise<void>
  /** A server's CA is unknown: the next login looks at the file again. */
  expire(): void
  /**
   * With `auto`: starts a download in the background, unless the last attempt was less than an hour ago; or a minute, if it
   * failed and the region has no CA.
   * @returns whether a download runs now
   */
  fetch(): boolean
  /** Whether the built-in bundle or the downloaded roots have a CA of the region */
  isKnown(): boolean
  /** Ends a download that nobody else needs: it would keep the process alive. */
  close(): void
}

export interface RegionBundleOptions {
  region: string
  /** 'cached' reads the folder, 'auto' also downloads, 'off' does neither */
  mode: 'cached' | 'auto' | 'off'
  /** undefined: there is none, so that a download stays in memory */
  folder: string | undefined
  log?: Logger
  clock?: Clock
  /** the text of the bundle of a region */
  fetchBundle?: ((region: string, stop: AbortSignal) => Promise<string>) | undefined
}

/** Between two looks at the file, while logins succeed. A look takes a tenth of the processor time of a login. */
const LOOK_INTERVAL_MS = 1_000

/** Between two downloads for the same region and folder. */
const FETCH_INTERVAL_MS = 3_600_000

/** The same after a failure, while no login to the region can succeed: at boot, the network may be up later. */
const RETRY_INTERVAL_MS = 60_000

interface Attempt {
  started: number
  /** undefined once it has ended */
  running: Promise<void> | undefined
  /** what the last download found, if it could not be saved */
  unsaved: readonly RdsRoot[]
  /** of the last failure in a row, for the log; '' if there is none */
  problem: string
  /** endpoints that want it */
  users: Set<RegionBundle>
  stop: AbortController
}

/** By folder and region: the endpoints of a process share a download, also after a reload. */
const attempts = new Map<string, Attempt>()

export function createRegionBundle(options: RegionBundleOptions): RegionBundle {
  const { region, mode, folder, log = silent, clock = monotonicClock } = options
  const url = bundleUrl(region)
  const { fetchBundle = (_region, signal) => download(url!, { maxBytes: MAX_BUNDLE_BYTES, signal }) } = options
  const isAutomatic = mode === 'auto' && url !== undefined
  const key = `${folder} ${region}`
  let cached = NO_BUNDLE
  let lastWarning = ''
  let refreshing: Promise<void> | undefined
  let lookedAt = Number.NEGATIVE_INFINITY
  const expire = () => {
    lookedAt = Number.NEGATIVE_INFINITY
  }

  async function readAgain(): Promise<void> {
    if (folder === undefined || mode === 'off' || (await versionOfBundle(folder, region)) === cached.version) return
    try {
      cached = await readBundle(folder, region)
      lastWarning = ''
      const fields = { region }
      const count = cached.roots.length
      if (count === 0) log.info(fields, `no longer trusts downloaded CA certificates of ${region}, from ${folder}`)
      else log.info(fields, `trusts ${count} downloaded CA certificates of ${region}, from ${folder}`)
    } catch (thrown) {
      const error = asProxyError(thrown)
      if (error.message !== lastWarning) log.warn(errorFields(error), `${error.message}; the file is not used`)
      lastWarning = error.message
    }
  }

  const errorFields = (error: ProxyError) => ({ code: error.code, hint: hintFor(error, { region }) })

  function roots(): readonly RdsRoot[] {
    const found = [...cached.roots, ...(isAutomatic ? (attempts.get(key)?.unsaved ?? []) : [])]
    return [...new Map(found.map(root => [root.fingerprint, root])).values()]
  }

  const isKnown = () => builtInRegions().has(region) || roots().length > 0

  async function fetchOnce(attempt: Attempt): Promise<void> {
    try {
      const update = await updateRegion(region, folder, () => fetchBundle(region, attempt.stop.signal))
      const isBuiltIn = ({ fingerprint }: RdsRoot) => builtInRoots().has(fingerprint)
      attempt.problem = ''
      attempt.unsaved = update.isSaved ? [] : update.roots.filter(root => !isBuiltIn(root))
      const added = update.isNew.map(({ name }) => name)
      log.info({ region, added }, `downloaded the CA certificates of ${region} from AWS`)
      const { problem } = update
      if (problem) log.warn(errorFields(problem), `${problem.message}; this process keeps them in memory`)
    } catch (thrown) {
      if (attempt.stop.signal.aborted) {
        attempts.delete(key)
        return
      }
      const error = asProxyError(thrown)
      const next = isKnown() ? 'an hour' : 'a minute'
      if (error.message !== attempt.problem) {
        log.warn(errorFields(error), `${error.message}; the next attempt is in ${next} at the earliest`)
      }
      attempt.problem = error.message
    } finally {
      attempt.running = undefined
      expire()
    }
  }

  const bundle: RegionBundle = {
    region,
    isAutomatic,
    roots,
    isFresh: () => !attempts.get(key)?.running && clock.now() - lookedAt < LOOK_INTERVAL_MS,
    expire,
    async refresh() {
      // A download changes the file that is read then.
      await attempts.get(key)?.running
      lookedAt = clock.now()
      refreshing ??= readAgain().finally(() => {
        refreshing = undefined
      })
      await refreshing
    },
    fetch() {
      if (!isAutomatic) return false
      const last = attempts.get(key)
      const interval = last?.problem && !isKnown() ? RETRY_INTERVAL_MS : FETCH_INTERVAL_MS
      if (last?.running) last.users.add(bundle)
      if (last && (last.running || clock.now() - last.started < interval)) return last.running !== undefined
      const { unsaved = [], problem = '' } = last ?? {}
      const users = new Set([bundle])
      const stop = new AbortController()
      const attempt: Attempt = { started: clock.now(), running: undefined, unsaved, problem, users, stop }
      attempts.set(key, attempt)
      attempt.running = fetchOnce(attempt)
      return true
    },
    isKnown,
    close() {
      const attempt = attempts.get(key)
      attempt?.users.delete(bundle)
      if (attempt?.running && attempt.users.size === 0) attempt.stop.abort()
    },
  }
  return bundle
}

/** The error for a region whose trust store is not public. */
export function noTrustStore(region: string): ProxyError {
  const message = `AWS documents no public trust store for ${region}; download its CA certificates as the documentation of that partition says, and add them with the option ca`
  return new ProxyError('TRUST_UPDATE_FAILED', message)
}

/** The result of an update of one region. */
export interface RegionUpdate {
  region: string
  /** all valid roots of AWS's bundle */
  roots: readonly RdsRoot[]
  /** those that neither the built-in bundle nor the file had */
  isNew: readonly RdsRoot[]
  /** those of the old file that AWS's bundle no longer has */
  removed: readonly RdsRoot[]
  /** whether there is a file now: not if the built-in bundle has all of them */
  isSaved: boolean
  /** why the roots could not be saved */
  problem: ProxyError | undefined
}

/**
 * Downloads, checks and saves the roots of a region.
 * @throws ProxyError TRUST_UPDATE_FAILED; then the file stays as it was
 */
export async function updateRegion(
  region: string,
  folder: string | undefined,
  fetchBundle: () => Promise<string>,
): Promise<RegionUpdate> {
  const what = bundleUrl(region) ?? region
  const roots = rootsOfRegion(parseBundle(await fetchBundle(), what), region, what)
  return await saveRegion(region, folder, roots)
}

/** Saves the roots of a region. Never rejects. */
export async function saveRegion(
  region: string,
  folder: string | undefined,
  roots: readonly RdsRoot[],
): Promise<RegionUpdate> {
  const builtIn = builtInRoots()
  const adds = roots.some(({ fingerprint }) => !builtIn.has(fingerprint))
  // An unusable file is replaced, or its folder makes the write fail with the same reason.
  const old = folder === undefined ? NO_BUNDLE : await readBundle(folder, region).catch(() => NO_BUNDLE)
  const missingIn = (others: readonly RdsRoot[]) => {
    const known = new Set(others.map(({ fingerprint }) => fingerprint))
    return ({ fingerprint }: RdsRoot) => !known.has(fingerprint)
  }
  const isNew = roots.filter(missingIn([...builtIn.values(), ...old.roots]))
  const removed = old.roots.filter(missingIn(roots))
  const result: RegionUpdate = { region, roots, isNew, removed, isSaved: adds, problem: undefined }
  if (folder === undefined) return { ...result, isSaved: false }
  try {
    await (adds ? writeBundle(folder, region, roots) : removeBundle(folder, region))
    return result
  } catch (thrown) {
    return { ...result, isSaved: false, problem: asProxyError(thrown) }
  }
}
