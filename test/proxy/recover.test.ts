import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { createOrphans } from '../../src/proxy/orphans.ts'
import { recover } from '../../src/proxy/recover.ts'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { createCircuitBreaker, FAILURE_THRESHOLD } from '../../src/upstream/circuit-breaker.ts'

test('what an endpoint forgets', async t => {
  let refreshed = 0
  const target = {
    addresses: createAddressBook(),
    breaker: createCircuitBreaker(true),
    orphans: createOrphans(),
    refreshCredentials: () => refreshed++,
  }
  const [one, two] = [{ address: '10.0.0.1' }, { address: '10.0.0.2' }]
  target.addresses.failed(one.address)
  for (let count = 0; count < FAILURE_THRESHOLD; count++) {
    target.breaker.failed(new ProxyError('TLS_WRONG_NAME', 'another name'), 'iam_user', {})
  }
  t.throws(() => target.breaker.throwIfOpen(undefined, {}))
  recover({ ...target, compression: undefined, tunnel: undefined })
  t.strictSame(target.addresses.sort([one, two]), [one, two])
  target.breaker.throwIfOpen(undefined, {})
  t.equal(refreshed, 1)
})
