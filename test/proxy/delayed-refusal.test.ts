import { test } from 'tap'
import { realServer } from '../support/mariadb.ts'
import { connect, startProxy, until } from '../support/raw-client.ts'

test('a proxy that stops amid delayed refusals: every client gets an error at once, its own if it is known', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server, { localUsers: [{ name: 'local', user: 'iam_user', password: 'right' }] })
  const failures: number[] = []
  const guesses = Array.from({ length: 8 }, () =>
    connect(proxy, { user: 'local', password: 'wrong' }).catch(({ errno }: { errno: number }) => failures.push(errno)),
  )
  await until('the first refusals are out, and the others wait', () => failures.length >= 3)
  const waiting = 8 - failures.length
  const started = performance.now()
  await proxy.close(600_000)
  t.comment(`stopped in ${Math.round(performance.now() - started)} ms, with ${waiting} refusals waiting`)
  await Promise.all(guesses)
  // A client whose password is not checked yet hears that the proxy stops.
  t.same(
    failures.filter(errno => errno !== 1045 && errno !== 1053),
    [],
  )
  t.equal(failures.length, 8)
})
