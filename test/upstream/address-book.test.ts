import { test } from 'tap'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { createTestClock } from '../support/clock.ts'

const entries = ['10.0.0.1', '10.0.0.2', 'fd00::3'].map(address => ({ address }))
const order = (book: ReturnType<typeof createAddressBook>) => book.sort(entries).map(({ address }) => address)

test('addresses without failures keep the order of DNS', async t => {
  t.strictSame(order(createAddressBook(createTestClock())), ['10.0.0.1', '10.0.0.2', 'fd00::3'])
})

test('an address that failed goes to the end, the one that failed last to the very end', async t => {
  const clock = createTestClock()
  const book = createAddressBook(clock)
  book.failed('10.0.0.1')
  clock.advance(10)
  t.strictSame(order(book), ['10.0.0.2', 'fd00::3', '10.0.0.1'])
  book.failed('10.0.0.2')
  t.strictSame(order(book), ['fd00::3', '10.0.0.1', '10.0.0.2'])
  clock.advance(10)
  book.failed('fd00::3')
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'], 'if all failed, the oldest failure first')
  book.failed('10.0.0.1')
  clock.advance(10)
  book.failed('10.0.0.1')
  t.strictSame(order(book), ['10.0.0.2', 'fd00::3', '10.0.0.1'], 'a second failure counts')
})

test('an address that works again is at its own place at once', async t => {
  const book = createAddressBook(createTestClock())
  book.failed('10.0.0.1')
  book.succeeded('10.0.0.1')
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'])
})

test('after a minute, one login tries the address again and the others do not', async t => {
  const clock = createTestClock()
  const book = createAddressBook(clock)
  book.failed('10.0.0.1')
  clock.advance(59_999)
  t.strictSame(order(book), ['10.0.0.2', 'fd00::3', '10.0.0.1'])
  clock.advance(1)
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'], 'the first login')
  t.strictSame(order(book), ['10.0.0.2', 'fd00::3', '10.0.0.1'], 'the second one')
  clock.advance(60_000)
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'], 'a minute later')
  book.succeeded('10.0.0.1')
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'], 'and it worked')
})

test('all failures are forgotten when the network has changed', async t => {
  const book = createAddressBook(createTestClock())
  book.failed('10.0.0.1')
  book.failed('10.0.0.2')
  book.forget()
  t.strictSame(order(book), ['10.0.0.1', '10.0.0.2', 'fd00::3'])
})

test('it forgets the oldest failure beyond 100 addresses', async t => {
  const book = createAddressBook(createTestClock())
  for (let n = 0; n <= 100; n++) book.failed(`10.0.1.${n}`)
  const [first, second] = [{ address: '10.0.1.0' }, { address: '10.0.1.1' }]
  t.strictSame(book.sort([second, first]), [first, second])
})
