import { test } from 'tap'
import type { Dialling } from '../../src/proxy/orphans.ts'
import { createOrphans } from '../../src/proxy/orphans.ts'
import type { Upstream } from '../../src/upstream/dial.ts'

function dialling() {
  let greet = (_upstream: Upstream) => {}
  let fail = (_error: Error) => {}
  const upstream = new Promise<Upstream>((resolve, reject) => {
    greet = resolve
    fail = reject
  })
  const place = { watch() {}, unwatch() {}, leave() {}, lost: new Promise<never>(() => {}) }
  return {
    value: { upstream, place } satisfies Dialling,
    greet: () => greet({} as Upstream),
    fail: (error: Error) => fail(error),
  }
}

test('the next client of the same source takes the oldest over', async t => {
  const orphans = createOrphans()
  const [first, second] = [dialling(), dialling()]
  const kept = [orphans.keep('a', first.value), orphans.keep('a', second.value)]
  t.equal(orphans.take('b'), undefined, 'not another source')
  t.equal(orphans.take('a'), first.value)
  first.greet()
  second.greet()
  t.same(await Promise.all(kept), [true, false])
  t.equal(orphans.take('a'), undefined, 'it has its greeting')
})

test('a connection that fails is not kept', async t => {
  const orphans = createOrphans()
  const { value, fail } = dialling()
  const kept = orphans.keep('a', value)
  fail(new Error('closed'))
  t.equal(await kept, false)
  t.equal(orphans.take('a'), undefined)
})

test('after the network has changed, no client gets a connection from before', async t => {
  const orphans = createOrphans()
  const [first, second] = [dialling(), dialling()]
  const kept = [orphans.keep('a', first.value), orphans.keep('b', second.value)]
  orphans.forget()
  t.same(await Promise.all(kept), [false, false], 'each waits for its greeting, to be refused')
  t.equal(orphans.take('a'), undefined)
  t.equal(orphans.take('b'), undefined)
})
