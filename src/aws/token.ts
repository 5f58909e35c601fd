/** IAM authentication tokens. They are always signed for the RDS endpoint, even if the proxy connects to an NLB. */

import type { Endpoint } from '../endpoint.ts'
import { explainCredentialsError } from './credential-errors.ts'
import type { CredentialsProvider } from './credentials.ts'

/**
 * Resolves with a new token for a database user. It is a secret: anyone who has it can log in for 15 minutes.
 * @param region of the server; only for an Aurora global endpoint, whose name has no region
 * @throws ProxyError CREDENTIALS_…
 */
export type TokenSource = (user: string, region?: string) => Promise<string>

/**
 * Signs a new token for each login. Signing is local and takes about 0.2 ms, and a token expires with the credentials that
 * signed it, so only the credentials are cached.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
 */
export function createTokenSource(rds: Endpoint['rds'], credentials: CredentialsProvider): TokenSource {
  return async (user, region) => {
    const { Signer } = await import('@aws-sdk/rds-signer')
    const signer = new Signer({
      hostname: rds.host,
      port: rds.port,
      region: rds.region ?? region!,
      username: user,
      credentials: await credentials(),
    })
    try {
      return await signer.getAuthToken()
    } catch (error) {
      throw explainCredentialsError(error, undefined)
    }
  }
}
