/** What an endpoint forgets after the machine slept or its network changed, so that the first login then works. */
import type { Served } from './served.ts'

/** Names need nothing: each login resolves them. The watchdog looks after open sessions. */
export function recover({
  addresses,
  breaker,
  orphans,
  refreshCredentials,
}: Pick<Served, 'addresses' | 'breaker' | 'orphans' | 'refreshCredentials'>): void {
  addresses.forget()
  breaker.reset()
  orphans.forget()
  refreshCredentials()
}
