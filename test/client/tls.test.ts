import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { createLocalTls } from '../../src/client/tls.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { silent } from '../../src/log.ts'
import { createTestClock } from '../support/clock.ts'

const RELOAD_INTERVAL_MS = 5_000

/** A certificate for clients, in files; `log` holds what was logged. */
async function createFiles(t: Test) {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const authority = await createAuthority('local')
  const renew = async (notAfter?: Date) => {
    const { certificate, key } = await authority.issue({ names: ['localhost'], ...(notAfter ? { notAfter } : {}) })
    await writeFile(certFile, certificate)
    await writeFile(keyFile, key)
  }
  await renew()
  const clock = createTestClock()
  const log: string[] = []
  const logger = {
    ...silent,
    info: (_fields: object, message: string) => void log.push(`info ${message}`),
    warn: (_fields: object, message: string) => void log.push(`warn ${message}`),
  }
  return { keyFile, renew, clock, log, tls: await createLocalTls(certFile, keyFile, logger, clock) }
}

test('a certificate that changes is loaded at the next check', async t => {
  const { renew, clock, log, tls } = await createFiles(t)
  const first = await tls.secureContext()
  await renew()
  clock.advance(RELOAD_INTERVAL_MS - 1)
  t.equal(await tls.secureContext(), first, 'not before')
  clock.advance(1)
  const second = await tls.secureContext()
  t.not(second, first)
  t.match(log, [/^info .*new certificate for clients/])
  clock.advance(RELOAD_INTERVAL_MS)
  t.equal(await tls.secureContext(), second, 'files that have not changed are not loaded again')
})

test('invalid files leave the previous certificate in use, with one warning', async t => {
  const { keyFile, renew, clock, log, tls } = await createFiles(t)
  const first = await tls.secureContext()
  await writeFile(keyFile, 'half')
  for (let time = 0; time < 3; time++) {
    clock.advance(RELOAD_INTERVAL_MS)
    t.equal(await tls.secureContext(), first)
  }
  t.equal(log.length, 1)
  t.match(log[0], /^warn .*the previous certificate stays in use$/)
  await renew()
  clock.advance(RELOAD_INTERVAL_MS)
  t.not(await tls.secureContext(), first, 'and valid ones are loaded again')
})

test('the time of expiry follows new files, also if no client connects', async t => {
  const { renew, clock, tls } = await createFiles(t)
  const first = tls.expires()
  await renew(new Date(Date.now() + 48 * 3_600_000))
  clock.advance(RELOAD_INTERVAL_MS)
  t.equal(tls.expires(), first, 'it asks for the files')
  while (tls.expires() === first) await setImmediate()
  t.pass('and knows of them soon')
})
