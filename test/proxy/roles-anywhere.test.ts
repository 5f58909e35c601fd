import { test } from 'tap'
import { createActivities } from '../../src/admin/activity.ts'
import { createHistory } from '../../src/admin/history.ts'
import { pageStatus } from '../../src/admin/status.ts'
import { checkEnded, hasToken, logIn, startProxy, until } from '../support/proxy.ts'
import { CREDENTIALS, issue, optionsFor, startRolesAnywhere } from '../support/roles-anywhere.ts'
import { goodLogin, startScriptedUpstream } from '../support/scripted-upstream.ts'

test('a login with credentials of IAM Roles Anywhere; the status knows when its certificate expires', async t => {
  const directory = t.testdir({})
  const authority = await issue(directory, 'authority', { ca: true })
  const host = await issue(directory, 'host', { issuer: authority })
  const standIn = await startRolesAnywhere(t, { authority })
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const rolesAnywhere = optionsFor(host, standIn)
  const { address, proxy, log } = await startProxy(t, {
    connect: upstream.address,
    credentials: undefined,
    rolesAnywhere,
  })
  t.match(await logIn(t, address), { ok: true })
  await checkEnded(t, upstream)
  t.ok(upstream.connections.some(hasToken))
  t.equal(standIn.requests, 1, 'one request for the start and the login')
  const { state } = proxy as unknown as { state: Parameters<typeof pageStatus>[0][number] }
  const past = { history: createHistory(0), activities: createActivities() }
  const status = pageStatus([state], past, {
    version: '1',
    uptime: 0,
    isReady: true,
    notReady: [],
    busy: 0,
    sessionsLimit: undefined,
    mayClose: true,
    drainingSessions: 0,
  })
  const left = (status.endpoints[0]?.rolesAnywhereCertificateExpires ?? 0) - Date.now()
  t.ok(left > 29 * 86_400_000 && left < 31 * 86_400_000)
  t.notMatch(JSON.stringify(log), CREDENTIALS.secretAccessKey)
})

test('a certificate that cannot be used: the error is in the log at the start, and the client gets it', async t => {
  const directory = t.testdir({})
  const authority = await issue(directory, 'authority', { ca: true })
  const standIn = await startRolesAnywhere(t, { authority })
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { address, log } = await startProxy(t, {
    connect: upstream.address,
    credentials: undefined,
    rolesAnywhere: optionsFor(authority, standIn),
  })
  await until(() => log.length > 0)
  t.match(JSON.stringify(log), /CREDENTIALS_CERTIFICATE_INVALID/)
  const { error } = await logIn(t, address)
  t.match(error?.message, /authority\.pem: the certificate is that of an authority .*\. Correct or renew that file\./)
  t.equal(standIn.requests, 0)
})
