/** Downloaded CA certificates, with a running proxy. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { bundleFile, writeBundle } from '../../src/upstream/bundle-cache.ts'
import { parseBundle } from '../../src/upstream/rds-bundle.ts'
import { checkGoodLogin, checkOutcome, hasToken, logIn, problems, startProxy } from '../support/proxy.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import { OK, type Script, serveCommands, startScriptedUpstream, untilResponse } from '../support/scripted-upstream.ts'

const REGION = 'mx-central-1'
const HOST = `database-1.abcdefghijkl.${REGION}.rds.amazonaws.com`

test('a running proxy trusts downloaded CA certificates from the next login on, and soon no longer when their file is removed', async t => {
  const rds = createRdsAuthority(REGION)
  const certificate = rds.issue(HOST)
  const logInAtOnce: Script = async peer => {
    await untilResponse(peer, {}, certificate)
    peer.send(OK)
    await serveCommands(peer)
  }
  const upstream = await startScriptedUpstream(t, [logInAtOnce])
  const folder = join(t.testdir(), 'cache')
  const { address, log } = await startProxy(t, {
    rdsEndpoint: HOST,
    connect: upstream.address,
    ca: [],
    caOnly: false,
    bundleCache: folder,
    tokenInHandshake: 'always',
    maxLoginsPerSecond: 0, // no circuit breaker
  })
  const unknown = {
    code: 'TLS_UNKNOWN_CA',
    errno: 1043,
    sqlState: '08S01',
    says: [
      /not issued by a trusted CA \([A-Z_]+\); the built-in RDS bundle has no CA of mx-central-1\. No token was sent\./,
      /For RDS in a new region, set the option regionBundle to 'auto'\./,
    ],
  } as const
  checkOutcome(t, await logIn(t, address), { ...unknown, says: [...unknown.says] })
  await writeBundle(folder, REGION, parseBundle(rds.root, 'test').roots)
  await checkGoodLogin(t, address)
  await rm(bundleFile(folder, REGION))
  // While logins succeed, it looks at the file once a second.
  let outcome = await logIn(t, address)
  while (outcome.ok) outcome = await logIn(t, address)
  checkOutcome(t, outcome, { ...unknown, says: [...unknown.says] })
  const tokens = upstream.connections.map(hasToken)
  t.same([tokens[0], tokens[1], tokens.at(-1)], [false, true, false])
  t.match(
    problems(log).map(({ message }) => message),
    [
      /not issued by a trusted CA/,
      `trusts 1 downloaded CA certificates of ${REGION}, from ${folder}`,
      `no longer trusts downloaded CA certificates of ${REGION}, from ${folder}`,
      /not issued by a trusted CA/,
    ],
  )
})
