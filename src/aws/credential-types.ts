/** What a provider of AWS credentials gives. */

/** AWS credentials, in the shape of the AWS SDK's AwsCredentialIdentity. All but `accessKeyId` and `expiration` are secret. */
export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
  /** of IAM Roles Anywhere: the certificate that proved who asked */
  readonly certificate?: { readonly name: string; readonly expires: Date }
}

/** Resolves with credentials that are valid now. Any provider of the AWS SDK will do. */
export type CredentialsProvider = () => Promise<Credentials>

/** A provider that caches. */
export interface CachedCredentials extends CredentialsProvider {
  /**
   * The machine slept, or its network changed. A lookup that is under way may hang on a dead connection, so the next call
   * starts another one. Credentials with an expiry stay until then.
   */
  refresh(): void
}
