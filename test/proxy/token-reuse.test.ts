/** --token-reuse, as the server sees it. */
import { test } from 'tap'
import { logIn, startProxy } from '../support/proxy.ts'
import { ACCESS_DENIED, OK, type Script, startScriptedUpstream, untilResponse } from '../support/scripted-upstream.ts'

/** The tokens of four logins, a second apart for the signatures; the third is refused. */
for (const tokenReuse of [0, 600_000]) {
  test(`tokens are ${tokenReuse ? 'reused until one is refused' : 'signed for each login'}`, async t => {
    const tokens: string[] = []
    const answer =
      (payload: Buffer): Script =>
      async peer => {
        tokens.push((await untilResponse(peer)).authResponse.toString())
        peer.send(payload)
        peer.close()
      }
    const upstream = await startScriptedUpstream(t, [OK, OK, ACCESS_DENIED, OK].map(answer))
    const { address } = await startProxy(t, { connect: upstream.address, tokenReuse, tokenInHandshake: 'always' })
    const { Date: RealDate } = globalThis
    let seconds = 0
    t.teardown(() => {
      globalThis.Date = RealDate
    })
    for (let n = 0; n < 4; n++) {
      // Two signatures of the same second are equal.
      const ahead = ++seconds * 1_000
      globalThis.Date = class extends RealDate {
        constructor(...args: unknown[]) {
          if (args.length === 0) super(RealDate.now() + ahead)
          else super(...(args as [number]))
        }
      } as DateConstructor
      t.equal((await logIn(t, address)).ok, n !== 2)
    }
    t.ok(tokens.every(token => token.includes('X-Amz-Signature=')))
    const numbers = tokens.map(token => [...new Set(tokens)].indexOf(token))
    t.same(numbers, tokenReuse ? [0, 0, 0, 1] : [0, 1, 2, 3])
  })
}
