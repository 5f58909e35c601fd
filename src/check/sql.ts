/** SQL statements to copy. */

/** A user that logs in with IAM tokens. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html */
export function createIamUser(user: string): string {
  return `CREATE USER ${sqlUser(user)}\n  IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;`
}

export function alterToIamUser(user: string): string {
  return `ALTER USER ${sqlUser(user)}\n  IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;`
}

export function sqlUser(user: string): string {
  return `${sqlText(user)}@'%'`
}

export function sqlText(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}

export function sqlName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}
