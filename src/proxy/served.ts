/** An endpoint as it is served: what its logins share, and which clients may log in. */
import type { Access } from '../client/access.ts'
import type { CircuitBreaker } from '../upstream/circuit-breaker.ts'
import type { LoginTarget } from '../upstream/login.ts'
import type { Prepared } from '../upstream/prepared.ts'
import type { Admission } from './admission.ts'
import type { Orphans } from './orphans.ts'

export interface Served extends LoginTarget {
  access: Access
  breaker: CircuitBreaker
  admission: Admission
  orphans: Orphans
  /** undefined if no connections are prepared */
  prepared?: Prepared | undefined
  /** drops a lookup of credentials that may hang, and credentials without an expiry */
  refreshCredentials: () => void
}
