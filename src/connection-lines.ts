/** The lines to copy that stand on the terminal after the start. */
import type { Connection } from './connection.ts'
import { type Format, formatConnection } from './connection-formats.ts'

/** Stands for the user in lines for people, where the client names the database user. */
const DATABASE_USER = 'DB_USER'

/** The block of lines to copy for one endpoint, without a line end. */
export function connectionBlock(connection: Connection, platform: NodeJS.Platform): string {
  const { at, user, otherUsers, hasPassword, tls, ca, isOpen } = connection
  const shown = { ...connection, user: user ?? DATABASE_USER }
  const others = otherUsers.length > 0 ? ` (or ${otherUsers.join(', ')})` : ''
  const verified = ca === undefined ? 'required' : `required and verified with ${ca}`
  const fields = [
    ...('path' in at ? [`socket ${at.path}`] : [`host ${at.host}`, `port ${at.port}`]),
    `user ${user === undefined ? 'your IAM database user' : user + others}`,
    `password ${hasPassword ? 'that of the local user' : 'none or any'}`,
    ...('path' in at ? [] : [`SSL ${tls === 'off' ? 'off' : verified}`]),
  ]
  const formats: Format[] =
    'path' in at ? ['cli', 'mysql'] : ['cli', ...(tls === 'off' ? [] : ['mariadb-cli' as const]), 'mysql', 'jdbc']
  const lines = [
    fields.join(', '),
    ...formats.map(format => formatConnection(shown, format, platform)),
    ...(isOpen ? [`On other machines, use the name or address of this machine instead of ${hostOf(at)}.`] : []),
  ]
  return [connection.endpoint, ...lines.map(line => `  ${line}`)].join('\n')
}

function hostOf(at: Connection['at']): string {
  return 'path' in at ? 'localhost' : at.host
}
