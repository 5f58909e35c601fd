/** An endpoint as it is served: what logins to its database share, and who may come in. */
import type { Access } from '../client/access.ts'
import type { CircuitBreaker } from '../upstream/circuit-breaker.ts'
import type { Target } from '../upstream/login.ts'

export interface Served extends Target {
  access: Access
  breaker: CircuitBreaker
}
