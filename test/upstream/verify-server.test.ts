import { join } from 'node:path'
import { test } from 'tap'
import { createAuthority } from '../../src/demo/certificates.ts'
import { CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import { createRegionBundle } from '../../src/upstream/region-bundle.ts'
import { createTrust } from '../../src/upstream/trust.ts'
import { verifyServer } from '../../src/upstream/verify-server.ts'
import { startMariadb } from '../support/mariadb.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import {
  ACCESS_DENIED,
  greetingWithout,
  RDS_HOST,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const { signal } = new AbortController()

async function verify(port: number): Promise<void> {
  const trust = createTrust([(await testCertificates()).authority.certificate], true)
  await verifyServer({ host: '127.0.0.1', port }, { host: RDS_HOST }, trust, signal)
}

test('a server with the endpoint’s certificate gets an anonymous login', async t => {
  const users: string[] = []
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      const response = await untilResponse(peer)
      users.push(response.user.toString())
      t.equal(response.authResponse.length, 0, 'without any secret')
      peer.send(ACCESS_DENIED)
    },
  ])
  await verify(upstream.port)
  t.same(users, ['mysql-iam-proxy'])
})

test('another server', async t => {
  const users: string[] = []
  const { authority } = await testCertificates()
  const other = await authority.issue({ names: ['database-2.abcdefghijkl.eu-west-1.rds.amazonaws.com'] })
  const stranger = await (await createAuthority('a stranger')).issue({ names: [RDS_HOST] })
  const upstream = await startScriptedUpstream(t, [
    async peer => void users.push((await untilResponse(peer, {}, other)).user.toString()),
    async peer => void users.push((await untilResponse(peer, {}, stranger)).user.toString()),
    async peer => {
      peer.send(greetingWithout(CLIENT_SSL))
      await peer.expect()
      peer.send(ACCESS_DENIED)
    },
    async peer => peer.sendRaw('SSH-2.0-OpenSSH_9.2\r\n'),
  ])
  await t.rejects(verify(upstream.port), { code: 'TLS_WRONG_NAME', message: /database-2/ })
  await t.rejects(verify(upstream.port), { code: 'TLS_UNKNOWN_CA' })
  t.same(users, ['mysql-iam-proxy', 'mysql-iam-proxy'], 'left like the right one')
  await t.rejects(verify(upstream.port), { code: 'TLS_NOT_OFFERED' })
  await t.rejects(verify(upstream.port), { code: 'UPSTREAM_NOT_MYSQL' })
})

test('a region whose CA is not built in: the first address waits for the download', async t => {
  const region = 'il-central-1'
  const host = `database-1.abcdefghijkl.${region}.rds.amazonaws.com`
  const rds = createRdsAuthority(region)
  const certificate = rds.issue(host)
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      await untilResponse(peer, {}, certificate)
      peer.send(ACCESS_DENIED)
    },
  ])
  const folder = join(t.testdir(), 'cache')
  const bundle = createRegionBundle({ region, mode: 'auto', folder, fetchBundle: async () => rds.root })
  const trust = createTrust([], false, undefined, bundle)
  await t.resolves(verifyServer({ host: '127.0.0.1', port: upstream.port }, { host }, trust, signal))
})

test('no server', async t => {
  const upstream = await startScriptedUpstream(t, [async peer => peer.close()])
  await t.rejects(verify(upstream.port), { code: 'UPSTREAM_CLOSED' })
  await t.rejects(verify(1), { code: 'DIAL_REFUSED' })
})

test('a real server counts it as a refused login', async t => {
  const server = await startMariadb() // nobody else's: it counts
  t.teardown(() => server.stop())
  const status = async () => {
    const names = "'Access_denied_errors', 'Aborted_connects_preauth'"
    const rows = await server.query(`SHOW GLOBAL STATUS WHERE Variable_name IN (${names})`)
    const counts = (rows as { Variable_name: string; Value: string }[]).map(row => [
      row.Variable_name,
      Number(row.Value),
    ])
    return Object.fromEntries(counts) as Record<string, number>
  }
  t.same(await status(), { Access_denied_errors: 0, Aborted_connects_preauth: 0 })
  const trust = createTrust([server.ca], true)
  const version = await verifyServer(server, { host: server.rdsHost }, trust, signal)
  t.match(version, /MariaDB/)
  t.same(await status(), { Access_denied_errors: 1, Aborted_connects_preauth: 0 })
})
