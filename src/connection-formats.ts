/** A connection as a URL, a connection string, a command line or variables: one format for each kind of client. */
import type { Connection } from './connection.ts'
import { ProxyError } from './errors.ts'
import { shellWord } from './shell-quote.ts'

/** A connection whose user is known. */
type Complete = Connection & { user: string }

interface FormatSpec {
  describe: string
  line(connection: Complete, platform: NodeJS.Platform): string
}

/** One line, or a few, for one kind of client. */
const FORMATS = {
  mysql: {
    describe: 'a mysql:// URL, as most tools and drivers take it',
    line: c => url('mysql', c, { ...socketIn(c, 'socket'), ...tlsIn(c, 'ssl-mode', { ca: 'ssl-ca' }) }),
  },
  node: {
    describe: 'a mysql:// URL for mysql2 and mysql of npm',
    line: c => url('mysql', c, { ...socketIn(c, 'socketPath'), ...nodeTls(c) }),
  },
  jdbc: {
    describe: 'a URL for MySQL Connector/J',
    line: c => jdbc('mysql', c, ['DISABLED', 'REQUIRED', 'VERIFY_IDENTITY']),
  },
  'jdbc-mariadb': {
    describe: 'a URL for MariaDB Connector/J',
    line: c => jdbc('mariadb', c, ['disable', 'trust', 'verify-full']),
  },
  sqlalchemy: {
    describe: 'a URL for SQLAlchemy with PyMySQL',
    line: c => url('mysql+pymysql', c, { ...socketIn(c, 'unix_socket'), ...pymysqlTls(c) }),
  },
  go: {
    describe: 'a data source name for go-sql-driver/mysql; its tls=custom needs tls.RegisterTLSConfig("custom", …)',
    line: goName,
  },
  ruby: {
    describe: 'a mysql2:// URL for mysql2 of Ruby, as DATABASE_URL of Rails takes it',
    line: c => url('mysql2', c, { ...socketIn(c, 'socket'), ...rubyTls(c) }),
  },
  sqlx: {
    describe: 'a mysql:// URL for sqlx of Rust',
    line: c => url('mysql', c, { ...socketIn(c, 'socket'), ...sqlxTls(c) }),
  },
  dotnet: {
    describe: 'a connection string for MySqlConnector and MySQL Connector/NET',
    line: dotnet,
  },
  odbc: {
    describe: 'a connection string for MariaDB Connector/ODBC, without DRIVER',
    line: odbc,
  },
  cli: {
    describe: "a command line of MySQL's mysql",
    line: (c, platform) => commandLine('mysql', c, platform),
  },
  'mariadb-cli': {
    describe: "a command line of MariaDB's mariadb",
    line: (c, platform) => commandLine('mariadb', c, platform),
  },
  'my-cnf': {
    describe: 'a [client] group of an option file, for mysql, mysqldump, mycli and others',
    line: optionFile,
  },
  env: {
    describe: 'export lines for eval in a shell: MYSQL_HOST and others, as exec sets them',
    line: c => variables(c, (name, value) => `export ${name}=${shellWord(value, 'linux')}`),
  },
  dotenv: {
    describe: 'the same variables for a .env file',
    line: c => variables(c, (name, value) => `${name}=${dotenvValue(c.endpoint, value)}`),
  },
  powershell: {
    describe: 'the same variables for Invoke-Expression',
    line: c => variables(c, (name, value) => `$Env:${name} = '${value.replaceAll("'", "''")}'`),
  },
  json: {
    describe: 'the fields as one JSON object',
    line: json,
  },
} as const satisfies Record<string, FormatSpec>

export type Format = keyof typeof FORMATS

export const formatNames = Object.keys(FORMATS) as Format[]

/** What a format is for. */
export function describeFormat(format: Format): string {
  return FORMATS[format].describe
}

/**
 * The connection in a format.
 * @throws ProxyError CONFIG_INVALID if the user is unknown, or the format cannot say it
 */
export function formatConnection(connection: Connection, format: Format, platform: NodeJS.Platform): string {
  const { endpoint, user } = connection
  if (user === undefined) {
    throw invalid(`endpoint ${endpoint} logs in as the user that the client names; add --user NAME`)
  }
  return FORMATS[format].line({ ...connection, user }, platform)
}

type Params = Record<string, string>

/** `scheme://user@host:port/database?…`, with everything outside RFC 3986's unreserved characters escaped. */
function url(scheme: string, { at, user, database = '' }: Complete, params: Params): string {
  const address = 'path' in at ? 'localhost' : `${bracketed(at.host)}:${at.port}`
  return `${scheme}://${escaped(user)}@${address}/${escaped(database)}${query(params)}`
}

function query(params: Params): string {
  const pairs = Object.entries(params).map(([name, value]) => `${name}=${escaped(value)}`)
  return pairs.length > 0 ? `?${pairs.join('&')}` : ''
}

/** encodeURIComponent leaves some characters that shells and URL parsers read as their own. */
function escaped(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, character => `%${character.charCodeAt(0).toString(16)}`)
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function socketIn({ at }: Connection, name: string): Params {
  return 'path' in at ? { [name]: at.path } : {}
}

/** https://dev.mysql.com/doc/refman/9.5/en/connecting-using-uri-or-key-value-pairs.html */
function tlsIn({ tls, ca }: Connection, name: string, names: { ca: string }): Params {
  if (tls === 'off') return {}
  return ca === undefined ? { [name]: 'REQUIRED' } : { [name]: 'VERIFY_IDENTITY', [names.ca]: ca }
}

/** Both drivers read their parameters as JSON. They take the content of the authority, not its file. */
function nodeTls({ tls, ca, endpoint }: Connection): Params {
  if (tls === 'off') return {}
  if (ca !== undefined) throw invalid(`endpoint ${endpoint}: a URL for Node.js takes no file for --ssl-ca`)
  return { ssl: JSON.stringify({ rejectUnauthorized: false }) }
}

/** https://pymysql.readthedocs.io/en/latest/modules/connections.html */
function pymysqlTls({ tls, ca }: Connection): Params {
  if (tls === 'off') return {}
  return ca === undefined ? { ssl_verify_cert: 'false' } : { ssl_ca: ca, ssl_verify_identity: 'true' }
}

/**
 * libmysqlclient reads ssl_mode, and libmariadb verifies with sslverify.
 * https://github.com/brianmario/mysql2/issues/879
 */
function rubyTls({ tls, ca }: Connection): Params {
  if (tls === 'off') return { ssl_mode: 'disabled' }
  return ca === undefined ? { ssl_mode: 'required' } : { ssl_mode: 'verify_identity', sslca: ca, sslverify: 'true' }
}

/** https://docs.rs/sqlx/latest/sqlx/mysql/struct.MySqlConnectOptions.html: without ssl-mode, it uses TLS where it can. */
function sqlxTls(connection: Connection): Params {
  return connection.tls === 'off' ? { 'ssl-mode': 'DISABLED' } : tlsIn(connection, 'ssl-mode', { ca: 'ssl-ca' })
}

type TlsModes = readonly [off: string, required: string, verified: string]

/**
 * https://dev.mysql.com/doc/connector-j/en/connector-j-connp-props-security.html
 * https://mariadb.com/docs/connectors/mariadb-connector-j/about-mariadb-connector-j
 */
function jdbc(scheme: 'mysql' | 'mariadb', connection: Complete, [off, required, verified]: TlsModes): string {
  const { at, user, database = '', hasPassword, tls, ca, endpoint } = connection
  if ('path' in at) throw invalid(`endpoint ${endpoint} listens on a unix socket; JDBC drivers need a TCP port`)
  const authority: Params =
    ca === undefined
      ? {}
      : scheme === 'mariadb'
        ? { serverSslCert: ca }
        : { trustCertificateKeyStoreType: 'PEM', trustCertificateKeyStoreUrl: `file:${ca}` }
  const params: Params = {
    user,
    sslMode: tls === 'off' ? off : ca === undefined ? required : verified,
    ...authority,
    // The key comes over loopback. Without it, the driver may not send a password without TLS.
    ...(hasPassword && tls === 'off' ? { allowPublicKeyRetrieval: 'true' } : {}),
  }
  return `jdbc:${scheme}://${bracketed(at.host)}:${at.port}/${escaped(database)}${query(params)}`
}

/** https://github.com/go-sql-driver/mysql#dsn-data-source-name: the user is not escaped and ends at the first colon. */
function goName({ at, user, database = '', tls, ca, endpoint }: Complete): string {
  if (user.includes(':')) throw invalid(`endpoint ${endpoint}: the format go takes no colon in a user name`)
  const address = 'path' in at ? `unix(${at.path})` : `tcp(${bracketed(at.host)}:${at.port})`
  const mode = tls === 'off' ? '' : ca === undefined ? '?tls=skip-verify' : '?tls=custom'
  return `${user}@${address}/${escaped(database)}${mode}`
}

/**
 * Both drivers read these names.
 * https://mysqlconnector.net/connection-options/
 * https://dev.mysql.com/doc/connectors/en/connector-net.html
 */
function dotnet({ at, user, database, hasPassword, tls, ca }: Complete): string {
  const address = 'path' in at ? { Server: at.path, Protocol: 'Unix' } : { Server: at.host, Port: String(at.port) }
  const mode = tls === 'off' ? 'Disabled' : ca === undefined ? 'Required' : 'VerifyFull'
  const fields = {
    ...address,
    'User ID': user,
    ...(database === undefined ? {} : { Database: database }),
    SslMode: mode,
    ...(ca === undefined ? {} : { SslCa: ca }),
    // As with JDBC.
    ...(hasPassword && tls === 'off' ? { AllowPublicKeyRetrieval: 'True' } : {}),
  }
  // Quotes keep a semicolon; a quote within is doubled.
  const value = (text: string) => (/[;'"]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
  return `${Object.entries(fields)
    .map(([name, text]) => `${name}=${value(text)}`)
    .join(';')};`
}

/** https://mariadb.com/docs/connectors/mariadb-connector-odbc/mariadb-connector-odbc-guide */
function odbc({ at, user, database, tls, ca }: Complete): string {
  const address = 'path' in at ? { SOCKET: at.path } : { TCPIP: '1', SERVER: at.host, PORT: String(at.port) }
  const fields = {
    ...address,
    UID: user,
    ...(database === undefined ? {} : { DATABASE: database }),
    ...(tls === 'off' ? {} : ca === undefined ? { FORCETLS: '1' } : { FORCETLS: '1', SSLCA: ca, SSLVERIFY: '1' }),
  }
  // Braces keep a semicolon; a brace that closes is doubled.
  const value = (text: string) => (/[;{}=]|^ | $/.test(text) ? `{${text.replaceAll('}', '}}')}}` : text)
  return `${Object.entries(fields)
    .map(([name, text]) => `${name}=${value(text)}`)
    .join(';')};`
}

/** Options that MySQL's and MariaDB's clients share are the same; those for TLS differ. */
function commandLine(
  program: 'mysql' | 'mariadb',
  { at, user, database, hasPassword, tls, ca }: Complete,
  platform: NodeJS.Platform,
): string {
  const quote = (text: string) => shellWord(text, platform)
  const address = 'path' in at ? ['-S', quote(at.path)] : ['-h', at.host, '-P', String(at.port)]
  // A name that begins with a dash is read as an option otherwise, and an empty one would be the next word.
  const name = /^[^-]/.test(user) ? ['-u', quote(user)] : [`--user=${quote(user)}`]
  const words = [
    program,
    ...address,
    ...name,
    ...(hasPassword ? ['-p'] : []),
    ...(tls === 'off' ? [] : tlsOptions(program, ca === undefined ? undefined : quote(ca))),
    ...(database === undefined ? [] : [database.startsWith('-') ? `--database=${quote(database)}` : quote(database)]),
  ]
  return words.join(' ')
}

function tlsOptions(program: 'mysql' | 'mariadb', ca: string | undefined): string[] {
  if (program === 'mysql') {
    return ca === undefined ? ['--ssl-mode=REQUIRED'] : ['--ssl-mode=VERIFY_IDENTITY', `--ssl-ca=${ca}`]
  }
  return ca === undefined ? ['--ssl', '--skip-ssl-verify-server-cert'] : ['--ssl-verify-server-cert', `--ssl-ca=${ca}`]
}

/** Readers of .env files take text between quotes as it is, but differ on how to escape a quote. */
function dotenvValue(endpoint: string, text: string): string {
  if (/^[\w@%+:,./-]+$/.test(text)) return text
  if (!text.includes("'")) return `'${text}'`
  if (!/["\\$]/.test(text)) return `"${text}"`
  throw invalid(`endpoint ${endpoint}: the format dotenv cannot say ${text}`)
}

/** https://dev.mysql.com/doc/refman/9.5/en/option-files.html: a value in quotes keeps # and blanks. */
function optionFile({ at, user, database, tls, ca }: Complete): string {
  const quoted = (text: string) =>
    /^[\w@%+:,./-]+$/.test(text) ? text : `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  const address = 'path' in at ? [`socket=${quoted(at.path)}`] : [`host=${at.host}`, `port=${at.port}`]
  return [
    '[client]',
    ...address,
    `user=${quoted(user)}`,
    // MariaDB's programs ignore what begins with loose- and is unknown, and so do MySQL's.
    ...(tls === 'off' ? [] : [ca === undefined ? 'loose-ssl-mode=REQUIRED' : 'loose-ssl-mode=VERIFY_IDENTITY']),
    ...(tls === 'off' ? [] : ['loose-ssl']),
    ...(ca === undefined ? [] : [`ssl-ca=${quoted(ca)}`, 'loose-ssl-verify-server-cert']),
    // Of the group [client], programs without this option would refuse it.
    ...(database === undefined ? [] : ['[mysql]', `database=${quoted(database)}`]),
  ].join('\n')
}

/** The variables that exec sets, and the user. libmysqlclient reads MYSQL_TCP_PORT and MYSQL_UNIX_PORT. */
function variables({ at, user, database }: Complete, line: (name: string, value: string) => string): string {
  const values: Params = {
    ...('path' in at
      ? { MYSQL_HOST: 'localhost', MYSQL_SOCKET: at.path, MYSQL_UNIX_PORT: at.path }
      : { MYSQL_HOST: at.host, MYSQL_PORT: String(at.port), MYSQL_TCP_PORT: String(at.port) }),
    MYSQL_USER: user,
    ...(database === undefined ? {} : { MYSQL_DATABASE: database }),
  }
  return Object.entries(values)
    .map(([name, value]) => line(name, value))
    .join('\n')
}

function json({ endpoint, at, user, otherUsers, hasPassword, tls, ca, database }: Complete): string {
  const address = 'path' in at ? { socket: at.path } : { host: at.host, port: at.port }
  return JSON.stringify({ endpoint, ...address, user, otherUsers, hasPassword, tls, ca, database })
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
