import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import type { Connection } from '../src/connection.ts'
import { describeFormat, type Format, formatConnection, formatNames } from '../src/connection-formats.ts'

const ODD = "a b:c/d%@#'"

const BASE: Connection = {
  endpoint: 'shop',
  at: { host: '127.0.0.1', port: 3307 },
  isOpen: false,
  user: 'app',
  otherUsers: [],
  hasPassword: false,
  tls: 'off',
  ca: undefined,
  database: undefined,
}

const line = (format: Format, changed: Partial<Connection> = {}, platform: NodeJS.Platform = 'linux') =>
  formatConnection({ ...BASE, ...changed }, format, platform)

const odd = { user: ODD, database: 'my db' }
const v6 = { at: { host: '::1', port: 3307 } }
const socket = { at: { path: '/run/my db.sock' } }
const local = { hasPassword: true }
const tls = { tls: 'required' as const }
const verified = { ...tls, ca: '/ca.pem' }

/** For each format, what is said for each connection. */
const EXPECTED: Record<Format, [changed: Partial<Connection>, text: string][]> = {
  mysql: [
    [{}, 'mysql://app@127.0.0.1:3307/'],
    [odd, 'mysql://a%20b%3Ac%2Fd%25%40%23%27@127.0.0.1:3307/my%20db'],
    [v6, 'mysql://app@[::1]:3307/'],
    [socket, 'mysql://app@localhost/?socket=%2Frun%2Fmy%20db.sock'],
    [tls, 'mysql://app@127.0.0.1:3307/?ssl-mode=REQUIRED'],
    [verified, 'mysql://app@127.0.0.1:3307/?ssl-mode=VERIFY_IDENTITY&ssl-ca=%2Fca.pem'],
  ],
  node: [
    [odd, 'mysql://a%20b%3Ac%2Fd%25%40%23%27@127.0.0.1:3307/my%20db'],
    [socket, 'mysql://app@localhost/?socketPath=%2Frun%2Fmy%20db.sock'],
    [tls, 'mysql://app@127.0.0.1:3307/?ssl=%7B%22rejectUnauthorized%22%3Afalse%7D'],
  ],
  jdbc: [
    [{}, 'jdbc:mysql://127.0.0.1:3307/?user=app&sslMode=DISABLED'],
    [odd, 'jdbc:mysql://127.0.0.1:3307/my%20db?user=a%20b%3Ac%2Fd%25%40%23%27&sslMode=DISABLED'],
    [v6, 'jdbc:mysql://[::1]:3307/?user=app&sslMode=DISABLED'],
    [local, 'jdbc:mysql://127.0.0.1:3307/?user=app&sslMode=DISABLED&allowPublicKeyRetrieval=true'],
    [{ ...local, ...tls }, 'jdbc:mysql://127.0.0.1:3307/?user=app&sslMode=REQUIRED'],
    [
      verified,
      'jdbc:mysql://127.0.0.1:3307/?user=app&sslMode=VERIFY_IDENTITY&trustCertificateKeyStoreType=PEM&trustCertificateKeyStoreUrl=file%3A%2Fca.pem',
    ],
  ],
  'jdbc-mariadb': [
    [{}, 'jdbc:mariadb://127.0.0.1:3307/?user=app&sslMode=disable'],
    [tls, 'jdbc:mariadb://127.0.0.1:3307/?user=app&sslMode=trust'],
    [verified, 'jdbc:mariadb://127.0.0.1:3307/?user=app&sslMode=verify-full&serverSslCert=%2Fca.pem'],
  ],
  sqlalchemy: [
    [odd, 'mysql+pymysql://a%20b%3Ac%2Fd%25%40%23%27@127.0.0.1:3307/my%20db'],
    [socket, 'mysql+pymysql://app@localhost/?unix_socket=%2Frun%2Fmy%20db.sock'],
    [tls, 'mysql+pymysql://app@127.0.0.1:3307/?ssl_verify_cert=false'],
    [verified, 'mysql+pymysql://app@127.0.0.1:3307/?ssl_ca=%2Fca.pem&ssl_verify_identity=true'],
  ],
  go: [
    [{}, 'app@tcp(127.0.0.1:3307)/'],
    [{ ...odd, user: 'a b/c%@' }, 'a b/c%@@tcp(127.0.0.1:3307)/my%20db'],
    [v6, 'app@tcp([::1]:3307)/'],
    [socket, 'app@unix(/run/my db.sock)/'],
    [tls, 'app@tcp(127.0.0.1:3307)/?tls=skip-verify'],
    [verified, 'app@tcp(127.0.0.1:3307)/?tls=custom'],
  ],
  ruby: [
    [odd, 'mysql2://a%20b%3Ac%2Fd%25%40%23%27@127.0.0.1:3307/my%20db?ssl_mode=disabled'],
    [v6, 'mysql2://app@[::1]:3307/?ssl_mode=disabled'],
    [socket, 'mysql2://app@localhost/?socket=%2Frun%2Fmy%20db.sock&ssl_mode=disabled'],
    [tls, 'mysql2://app@127.0.0.1:3307/?ssl_mode=required'],
    [verified, 'mysql2://app@127.0.0.1:3307/?ssl_mode=verify_identity&sslca=%2Fca.pem&sslverify=true'],
  ],
  sqlx: [
    [odd, 'mysql://a%20b%3Ac%2Fd%25%40%23%27@127.0.0.1:3307/my%20db?ssl-mode=DISABLED'],
    [socket, 'mysql://app@localhost/?socket=%2Frun%2Fmy%20db.sock&ssl-mode=DISABLED'],
    [tls, 'mysql://app@127.0.0.1:3307/?ssl-mode=REQUIRED'],
    [verified, 'mysql://app@127.0.0.1:3307/?ssl-mode=VERIFY_IDENTITY&ssl-ca=%2Fca.pem'],
  ],
  dotnet: [
    [{}, 'Server=127.0.0.1;Port=3307;User ID=app;SslMode=Disabled;'],
    [{ user: `a;b'"`, database: ' x' }, `Server=127.0.0.1;Port=3307;User ID="a;b'""";Database=" x";SslMode=Disabled;`],
    [v6, 'Server=::1;Port=3307;User ID=app;SslMode=Disabled;'],
    [local, 'Server=127.0.0.1;Port=3307;User ID=app;SslMode=Disabled;AllowPublicKeyRetrieval=True;'],
    [socket, 'Server=/run/my db.sock;Protocol=Unix;User ID=app;SslMode=Disabled;'],
    [{ ...local, ...tls }, 'Server=127.0.0.1;Port=3307;User ID=app;SslMode=Required;'],
    [verified, 'Server=127.0.0.1;Port=3307;User ID=app;SslMode=VerifyFull;SslCa=/ca.pem;'],
  ],
  odbc: [
    [{}, 'TCPIP=1;SERVER=127.0.0.1;PORT=3307;UID=app;'],
    [{ user: 'a;b}' }, 'TCPIP=1;SERVER=127.0.0.1;PORT=3307;UID={a;b}}};'],
    [{ ...socket, database: 'x' }, 'SOCKET=/run/my db.sock;UID=app;DATABASE=x;'],
    [tls, 'TCPIP=1;SERVER=127.0.0.1;PORT=3307;UID=app;FORCETLS=1;'],
    [verified, 'TCPIP=1;SERVER=127.0.0.1;PORT=3307;UID=app;FORCETLS=1;SSLCA=/ca.pem;SSLVERIFY=1;'],
  ],
  cli: [
    [{}, 'mysql -h 127.0.0.1 -P 3307 -u app'],
    [{ ...odd, ...local }, `mysql -h 127.0.0.1 -P 3307 -u 'a b:c/d%@#'\\''' -p 'my db'`],
    [v6, 'mysql -h ::1 -P 3307 -u app'],
    [socket, "mysql -S '/run/my db.sock' -u app"],
    [{ user: '-v', database: '-d' }, 'mysql -h 127.0.0.1 -P 3307 --user=-v --database=-d'],
    [tls, 'mysql -h 127.0.0.1 -P 3307 -u app --ssl-mode=REQUIRED'],
    [verified, 'mysql -h 127.0.0.1 -P 3307 -u app --ssl-mode=VERIFY_IDENTITY --ssl-ca=/ca.pem'],
  ],
  'mariadb-cli': [
    [{}, 'mariadb -h 127.0.0.1 -P 3307 -u app'],
    [tls, 'mariadb -h 127.0.0.1 -P 3307 -u app --ssl --skip-ssl-verify-server-cert'],
    [verified, 'mariadb -h 127.0.0.1 -P 3307 -u app --ssl-verify-server-cert --ssl-ca=/ca.pem'],
  ],
  'my-cnf': [
    [{}, '[client]\nhost=127.0.0.1\nport=3307\nuser=app'],
    [
      { user: 'a "b"\\', database: 'x' },
      '[client]\nhost=127.0.0.1\nport=3307\nuser="a \\"b\\"\\\\"\n[mysql]\ndatabase=x',
    ],
    [socket, '[client]\nsocket="/run/my db.sock"\nuser=app'],
    [tls, '[client]\nhost=127.0.0.1\nport=3307\nuser=app\nloose-ssl-mode=REQUIRED\nloose-ssl'],
  ],
  env: [
    [
      { database: 'x' },
      'export MYSQL_HOST=127.0.0.1\nexport MYSQL_PORT=3307\nexport MYSQL_TCP_PORT=3307\nexport MYSQL_USER=app\nexport MYSQL_DATABASE=x',
    ],
    [
      socket,
      "export MYSQL_HOST=localhost\nexport MYSQL_SOCKET='/run/my db.sock'\nexport MYSQL_UNIX_PORT='/run/my db.sock'\nexport MYSQL_USER=app",
    ],
  ],
  dotenv: [
    [{ user: 'a b' }, "MYSQL_HOST=127.0.0.1\nMYSQL_PORT=3307\nMYSQL_TCP_PORT=3307\nMYSQL_USER='a b'"],
    [{ user: "it's" }, 'MYSQL_HOST=127.0.0.1\nMYSQL_PORT=3307\nMYSQL_TCP_PORT=3307\nMYSQL_USER="it\'s"'],
  ],
  powershell: [
    [
      { user: "it's $x" },
      "$Env:MYSQL_HOST = '127.0.0.1'\n$Env:MYSQL_PORT = '3307'\n$Env:MYSQL_TCP_PORT = '3307'\n$Env:MYSQL_USER = 'it''s $x'",
    ],
  ],
  json: [
    [
      {},
      '{"endpoint":"shop","host":"127.0.0.1","port":3307,"user":"app","otherUsers":[],"hasPassword":false,"tls":"off"}',
    ],
    [
      { ...socket, database: 'x' },
      '{"endpoint":"shop","socket":"/run/my db.sock","user":"app","otherUsers":[],"hasPassword":false,"tls":"off","database":"x"}',
    ],
    [
      verified,
      '{"endpoint":"shop","host":"127.0.0.1","port":3307,"user":"app","otherUsers":[],"hasPassword":false,"tls":"required","ca":"/ca.pem"}',
    ],
  ],
}

for (const format of formatNames) {
  test(`the format ${format}`, async t => {
    for (const [changed, text] of EXPECTED[format]) t.equal(line(format, changed), text)
  })
}

test('what a format cannot say is an error', async t => {
  const refused = (format: Format, changed: Partial<Connection>, message: string) =>
    t.throws(() => line(format, changed), { code: 'CONFIG_INVALID', message })
  for (const format of formatNames) {
    refused(format, { user: undefined }, 'endpoint shop logs in as the user that the client names; add --user NAME')
  }
  for (const format of ['jdbc', 'jdbc-mariadb'] as const) {
    refused(format, socket, 'endpoint shop listens on a unix socket; JDBC drivers need a TCP port')
  }
  refused('go', { user: 'a:b' }, 'endpoint shop: the format go takes no colon in a user name')
  refused('node', verified, 'endpoint shop: a URL for Node.js takes no file for --ssl-ca')
  refused('dotenv', { user: `'"` }, `endpoint shop: the format dotenv cannot say '"`)
})

test('a command line for Windows', async t => {
  t.equal(line('cli', { user: 'a b' }, 'win32'), 'mysql -h 127.0.0.1 -P 3307 -u "a b"')
  t.equal(line('cli', verified, 'win32'), line('cli', verified))
})

test('a shell reads the command line and the variables back as they were', async t => {
  const shell = (script: string) => execFileSync('sh', ['-c', script], { encoding: 'utf8' })
  const user = `it's "$HOME" \`x\` \\ a;b\n!*`
  const args = shell(`mysql() { for word; do printf '%s\\0' "$word"; done; }\n${line('cli', { user, database: ' x' })}`)
  t.same(args.split('\0'), ['-h', '127.0.0.1', '-P', '3307', '-u', user, ' x', ''])
  t.equal(shell(`${line('env', { user })}\nprintenv MYSQL_USER`), `${user}\n`)
})

test('docs/clients/README.md lists the formats', async t => {
  const page = readFileSync(new URL('../docs/clients/README.md', import.meta.url), 'utf8')
  for (const format of formatNames) t.ok(page.includes(`| \`${format}\` | ${describeFormat(format)} |`), format)
})
