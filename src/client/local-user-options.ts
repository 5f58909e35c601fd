/** How local users are given. */

/** A configured local user: with a password, or with the hash of one as MySQL stores it. */
export interface LocalUserOptions {
  /** The user name that clients log in with */
  name: string
  /** The password; either this or `passwordHash` */
  password?: string | undefined
  /** `*` and 40 hexadecimal digits (mysql_native_password), or `$A$005$…` (caching_sha2_password), also as 0x… */
  passwordHash?: string | undefined
  /** The database user to log in as. Default: the option `user`, else `name` */
  user?: string | undefined
}
