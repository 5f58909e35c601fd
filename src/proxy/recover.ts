/** What an endpoint forgets after the machine slept or its network changed, so that the first login then works. */
import type { Served } from './served.ts'

/** The watchdog looks after open sessions. */
export function recover({
  addresses,
  breaker,
  compression,
  orphans,
  prepared,
  refreshCredentials,
  tunnel,
}: Pick<
  Served,
  'addresses' | 'breaker' | 'compression' | 'orphans' | 'prepared' | 'refreshCredentials' | 'tunnel'
>): void {
  addresses.forget()
  breaker.reset()
  compression?.line?.forget()
  orphans.forget()
  prepared?.forget()
  refreshCredentials()
  tunnel?.recheck?.()
}
