/** Which addresses of an endpoint failed lately. All logins of the endpoint share it, so that only one of them pays for a dead address. */
import { type Clock, monotonicClock } from '../clock.ts'
import { createNameLookup, type NameLookup } from './name-lookup.ts'

export interface AddressBook {
  /** `addresses` in the order to try them: as DNS gave them, with those that failed lately at the end */
  sort<Entry extends { address: string }>(addresses: readonly Entry[]): Entry[]
  failed(address: string): void
  succeeded(address: string): void
  /** looks up the name that is dialled */
  names: NameLookup
  /** Forgets all failures and answers of DNS: the network has changed. */
  forget(): void
}

/** How long a failed address stays at the end. Then one login tries it at its own place again. */
const RETRY_AFTER_MS = 60_000

/** Names have a few addresses at a time, but they change over the months. */
const MAX_ADDRESSES = 100

/** @param names by default, each login looks up the name */
export function createAddressBook(
  clock: Clock = monotonicClock,
  names: NameLookup = createNameLookup(undefined, clock),
): AddressBook {
  /** By address, the time of its last failure; the oldest first. */
  const failures = new Map<string, number>()
  const failed = (address: string) => {
    failures.delete(address)
    failures.set(address, clock.now())
    if (failures.size > MAX_ADDRESSES) failures.delete(failures.keys().next().value!)
  }
  const failedLately = (address: string) => {
    const at = failures.get(address)
    if (at === undefined) return false
    if (clock.now() - at < RETRY_AFTER_MS) return true
    // This login tries it. Until the result is known, other logins do not.
    failed(address)
    return false
  }
  return {
    sort(addresses) {
      const dead = new Set(addresses.filter(({ address }) => failedLately(address)))
      const rank = (entry: (typeof addresses)[number]) => (dead.has(entry) ? failures.get(entry.address)! : -1)
      return [...addresses].sort((a, b) => rank(a) - rank(b))
    },
    failed,
    succeeded(address) {
      failures.delete(address)
    },
    names,
    forget() {
      failures.clear()
      names.forget()
    },
  }
}
