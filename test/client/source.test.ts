import { test } from 'tap'
import { sourceOf } from '../../src/client/source.ts'

test('sourceOf', async t => {
  t.equal(sourceOf('10.0.0.1'), '10.0.0.1')
  t.equal(sourceOf('::ffff:10.0.0.1'), '10.0.0.1', 'an IPv4 client of a dual-stack listener')
  t.not(sourceOf('10.0.0.1'), sourceOf('10.0.0.2'))
  for (const address of ['127.0.0.1', '127.9.8.7', '127.255.255.255', '::ffff:127.0.0.2', '::1']) {
    t.equal(sourceOf(address), 'loopback', address)
  }
  for (const address of ['2001:db8::1', '2001:db8:0:0:ffff::1', '2001:db8:0:0:1:2:3:4']) {
    t.equal(sourceOf(address), '2001:db8:0:0', address)
  }
  t.not(sourceOf('2001:db8:0:1::1'), sourceOf('2001:db8::1'), 'the next /64')
  t.equal(sourceOf('unix'), 'unix')
})
