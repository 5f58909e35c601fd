/** AWS credentials, and what gives them. */

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
