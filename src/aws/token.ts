/** IAM authentication tokens: signed for the RDS endpoint, whatever was dialled. */

import type { Endpoint } from '../endpoint.ts'
import { type CredentialsProvider, explainCredentialsError } from './credentials.ts'

/** A fresh token for a database user. It is a secret: good for 15 minutes for whoever holds it. @throws ProxyError CREDENTIALS_… */
export type TokenSource = (user: string) => Promise<string>

/**
 * Tokens are signed anew for each login: signing is local and takes about 0.2 ms, and a token dies with the credentials
 * it was signed with. The credentials are what is kept.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
 */
export function createTokenSource(rds: Endpoint['rds'], credentials: CredentialsProvider): TokenSource {
  return async user => {
    const { Signer } = await import('@aws-sdk/rds-signer')
    const signer = new Signer({
      hostname: rds.host,
      port: rds.port,
      region: rds.region,
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
