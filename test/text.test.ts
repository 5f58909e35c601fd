import { test } from 'tap'
import { createFormatter } from '../src/program-log.ts'
import { createStyler, didYouMean, isLive, nearest, wantsColours, wrap } from '../src/text.ts'

test('colours: FORCE_COLOR, then NO_COLOR, then the terminal and TERM', async t => {
  t.equal(wantsColours(true, {}), true)
  t.equal(wantsColours(false, {}), false)
  t.equal(wantsColours(undefined, {}), false)
  t.equal(wantsColours(true, { TERM: 'dumb' }), false)
  t.equal(wantsColours(true, { TERM: 'xterm-256color' }), true)
  t.equal(wantsColours(true, { NO_COLOR: '1' }), false)
  t.equal(wantsColours(true, { NO_COLOR: '' }), true, 'an empty value counts as not set')
  t.equal(wantsColours(false, { FORCE_COLOR: '1' }), true)
  t.equal(wantsColours(true, { FORCE_COLOR: '0' }), false)
  t.equal(wantsColours(true, { FORCE_COLOR: 'false' }), false)
  t.equal(wantsColours(false, { FORCE_COLOR: '1', NO_COLOR: '1', TERM: 'dumb' }), true)
  t.equal(wantsColours(false, { FORCE_COLOR: '' }), false)
})

test('lines are overwritten only on a terminal that can do it', async t => {
  t.equal(isLive(true, {}), true)
  t.equal(isLive(true, { TERM: 'dumb' }), false)
  t.equal(isLive(undefined, {}), false)
})

test('styles, and none', async t => {
  t.equal(createStyler(true)('bold', 'a'), '\x1b[1ma\x1b[22m')
  t.equal(createStyler(false)('bold', 'a'), 'a')
})

test('the log for people has colours only if they are wanted', async t => {
  const line = JSON.stringify({ level: 'info', time: '2026-11-26T00:00:00.000Z', msg: 'listening' })
  t.match((await createFormatter(true))(line), '\x1b[')
  t.notMatch((await createFormatter(false))(line), '\x1b')
})

test('the nearest name', async t => {
  t.equal(nearest('chek', ['check', 'exec']), 'check')
  t.equal(nearest('CHECK', ['check']), 'check')
  t.equal(nearest('orders', ['check', 'exec']), undefined)
  t.equal(nearest('dev', ['demo', 'exec']), undefined, 'a short name must be nearer')
  t.equal(nearest('ur', ['url']), 'url')
  t.equal(nearest('a', []), undefined)
  t.equal(didYouMean('chek', ['check']), '; did you mean check?')
  t.equal(didYouMean('orders', ['check']), '')
})

test('wrapped lines', async t => {
  t.same(wrap('one two three', 7), ['one two', 'three'])
  t.same(wrap('a-long-word b', 4), ['a-long-word', 'b'])
})
