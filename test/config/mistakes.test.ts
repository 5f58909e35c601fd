/** Wrong configurations: `config check` and a start refuse each of them, with the same report. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { checkConfig } from '../../src/commands/check-config.ts'
import { configCommand } from '../../src/commands/config.ts'
import { run } from '../../src/commands/run.ts'
import { createConfigText } from '../../src/config/config-text.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'

const HOST = 'orders.cluster-abcdefghijkl.eu-west-1.rds.amazonaws.com'

/** One endpoint with further lines. */
const one = (...lines: string[]) => ['endpoints:', `  - rds-endpoint: ${HOST}`, ...lines.map(line => `    ${line}`)]
const user = (secret: string) => one('local-users:', '  - name: a', `    ${secret}`)

/** The text of a file, and for each mistake its place, its key or what else it is about, and the column of the mark. */
const WRONG: Record<string, [lines: string[], ...mistakes: [line: number, column: number, about: RegExp][]]> = {
  'a tab': [
    ['endpoints:', `\t- rds-endpoint: ${HOST}`],
    [2, 1, /^indent with spaces, not with tabs$/],
  ],
  'wrong indentation': [
    [...one('listen: 127.0.0.1:3306'), '   user: a'],
    [4, 4, /^wrong indentation/],
  ],
  'a misspelled key': [one('lisen: 127.0.0.1:3306'), [3, 5, /lisen: unknown key; did you mean listen\?$/]],
  'snake case': [
    ['endpoints:', `  - rds_endpoint: ${HOST}`, '    local_users: []'],
    [2, 5, /rds_endpoint: unknown key; did you mean rds-endpoint\?$/],
    [3, 5, /local_users: unknown key; did you mean local-users\?$/],
  ],
  'camel case': [
    ['logFormat: json', 'endpoints:', `  - rdsEndpoint: ${HOST}`],
    [1, 1, /^logFormat: unknown key; did you mean log-format\?$/],
    [3, 5, /rdsEndpoint: unknown key; did you mean rds-endpoint\?$/],
  ],
  'an endpoint instead of a list': [
    ['endpoints:', `  rds-endpoint: ${HOST}`],
    [2, 3, /^endpoints: is one mapping, not a list; begin its first line with "- "$/],
  ],
  'an endpoint at the top': [
    [`rds-endpoint: ${HOST}`, 'listen: 127.0.0.1:3306'],
    [1, 1, /^rds-endpoint: describes one database; write it below endpoints$/],
    [2, 1, /^listen: describes one database; write it below endpoints$/],
  ],
  'a port alone': [one('listen: 3306'), [3, 13, /listen: "3306" has no host; write 127\.0\.0\.1:3306/]],
  'a port with a colon': [one('listen: :3306'), [3, 13, /listen: ":3306" has no host; write 127\.0\.0\.1:3306/]],
  'two endpoints on one port': [
    [...one(), ...one().slice(1)],
    [3, 5, /listen: endpoint .* already listens on/],
  ],
  'an endpoint on the port of the admin listener': [
    ['admin-listen: 127.0.0.1:3306', ...one()],
    [3, 5, /listen: admin-listen already listens on 127\.0\.0\.1:3306/],
  ],
  'the admin and the health listener on one port': [
    ['admin-listen: 127.0.0.1:1', 'health-listen: 0.0.0.0:1', ...one()],
    [2, 16, /^health-listen: admin-listen already listens on 127\.0\.0\.1:1; give each its own address$/],
  ],
  'open without users': [
    one('listen: 0.0.0.0:3306'),
    [3, 13, /other machines can reach .* without a password; set local users \(local-users\) and TLS \(tls-cert\)/],
  ],
  'open without TLS': [
    [...user('password-file: pw'), '    listen: 0.0.0.0:3306'],
    [6, 13, /other machines can reach .* send passwords without TLS; set TLS \(tls-cert\), or trust-network/],
  ],
  'a password in the file': [
    user('password: hunter2-secret'),
    [5, 9, /local user a: password: unknown key; use password-file, password-env or password-hash$/],
  ],
  'no password': [one('local-users: [{name: a}]'), [3, 19, /local user a: needs one of password-file/]],
  'a password file that is missing': [user('password-file: none'), [5, 24, /password-file none: ENOENT$/]],
  'an empty password file': [user('password-file: empty'), [5, 24, /password-file empty: the first line is empty$/]],
  'a password file with two lines': [user('password-file: two'), [5, 24, /password-file two: has more than one line$/]],
  'a password file with a byte-order mark': [
    user('password-file: bom'),
    [5, 24, /password-file bom: begins with a byte-/],
  ],
  'a password variable that is not set': [user('password-env: NOT_SET'), [5, 23, /the variable NOT_SET is not set$/]],
  'the key of another certificate': [
    one('tls-cert: tls.crt', 'tls-key: other.key'),
    [4, 14, /tls-key other\.key: the key does not belong to the certificate tls\.crt$/],
  ],
  'an encrypted key': [
    one('tls-cert: tls.crt', 'tls-key: encrypted.key'),
    [4, 14, /tls-key encrypted\.key: the key is encrypted; use one without a passphrase$/],
  ],
  'certificate and key swapped': [
    one('tls-cert: tls.key', 'tls-key: tls.crt'),
    [3, 15, /tls-cert tls\.key: is a private key, not a certificate$/],
    [4, 14, /tls-key tls\.crt: is a certificate, not a private key$/],
  ],
  'neither certificate nor key': [
    one('tls-cert: two', 'tls-key: none'),
    [3, 15, /tls-cert two: is not a certificate in PEM format$/],
    [4, 14, /tls-key none: ENOENT$/],
  ],
  'broken PEM': [
    one('tls-cert: broken.pem', 'tls-key: broken.pem'),
    [3, 15, /tls-cert broken\.pem: is not a valid certificate \(ERR_/],
    [4, 14, /tls-key broken\.pem: is not a valid private key \(ERR_/],
  ],
  'a certificate without a key': [one('tls-cert: tls.crt'), [3, 15, /tls-cert: needs tls-key$/]],
  'an authority that is none': [one('ca: [tls.crt, two]'), [3, 19, /ca two: not a certificate in PEM format$/]],
  'two users of one name': [
    one('local-users:', '  - {name: a, password-file: pw}', '  - {name: a, password-file: pw}'),
    [5, 16, /local user a: name: duplicate local user$/],
  ],
  'an invalid hash': [user('password-hash: "$2y$10$abc"'), [5, 24, /local user a: password-hash: is neither/]],
  'a hash without quotes': [
    user('password-hash: *2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'),
    [5, 24, /^YAML aliases are unsupported; a value that begins with \* needs quotes$/],
  ],
  'a duration without a unit': [
    ['connect-timeout: 3', ...one()],
    [1, 18, /^connect-timeout: "3" is not a duration/],
  ],
  'durations in words': [
    ['connect-timeout: 3 s', 'keepalive: 60 seconds', ...one()],
    [1, 18, /^connect-timeout: "3 s" is not a duration/],
    [2, 12, /^keepalive: "60 seconds" is not a duration/],
  ],
  'a network that is none': [one('allow-from: 10.0.0.0/33'), [3, 17, /allow-from: "10\.0\.0\.0\/33" is not a network/]],
  'an empty list of networks': [one('allow-from: []'), [3, 17, /allow-from: is empty; remove it to let clients from/]],
  'no network': [one('allow-from:'), [3, 16, /allow-from: needs a value$/]],
  'a boolean as a network': [one('allow-from: true'), [3, 17, /allow-from: "true" is not a network/]],
  'a name as a network': [one('allow-from: [client.internal]'), [3, 18, /allow-from: "client\.internal" is not a net/]],
  'yes as a boolean': [one('require-writer: yes'), [3, 21, /require-writer: "yes" is not true or false$/]],
  'a load balancer as the database': [
    ['endpoints:', '  - rds-endpoint: my-nlb-0123.elb.eu-west-1.amazonaws.com'],
    [2, 19, /rds-endpoint: my-nlb.* is a load balancer; .* as connect$/],
  ],
  'two endpoints of one name': [
    ['endpoints:', ...[1, 2].map(port => `  - {name: x, rds-endpoint: ${HOST}, listen: "127.0.0.1:${port}"}`)],
    [3, 12, /^name: duplicate endpoint name$/],
  ],
  'a key twice': [one('user: a', 'user: b', 'usr: c'), [4, 5, /^user: duplicate key$/], [5, 5, /usr: unknown key/]],
  'an empty file': [[''], [1, 1, /^the file is empty; begin with endpoints:$/]],
  'a variable': [
    ['endpoints:', '  - rds-endpoint: $' + '{RDS_ENDPOINT}', '    user: $' + '{DB_USER}'],
    [2, 19, /rds-endpoint: variables in the file are not replaced; set MYSQL_IAM_PROXY_RDS_ENDPOINT instead$/],
    [3, 11, /user: variables in the file are not replaced; set MYSQL_IAM_PROXY_USER instead$/],
  ],
  'an open admin listener': [
    ['admin-listen: 0.0.0.0:9090', ...one()],
    [1, 15, /^admin-listen: 0\.0\.0\.0:9090 is not a/],
  ],
  'an admin secret that is missing': [
    ['admin-listen: 127.0.0.1:9090', 'admin-token-file: none', ...one('ca: none')],
    [2, 19, /^admin-token-file none: ENOENT$/],
    [5, 9, /ca none: ENOENT$/],
  ],
  'an unknown choice': [
    ['log-level: verbose', ...one()],
    [1, 12, /^log-level: "verbose" is not one of error, warn/],
  ],
  'options of the process in an endpoint': [
    one('log-level: debug', 'admin-listen: 127.0.0.1:9090'),
    [3, 5, /log-level: applies to the whole process; move it to the top of the file$/],
    [4, 5, /admin-listen: applies to the whole process; move it to the top of the file$/],
  ],
  'a word as a number': [
    one('user: 12345', 'max-connections: "ten"'),
    [4, 22, /max-connections: "ten" is not a number/],
  ],
  'a URL of another scheme': [
    one('connect: tcp://nlb.example:3306'),
    [3, 14, /connect: this is a URL of tcp; write host/],
  ],
  'several mistakes': [
    ['lgo-format: json', ...one('lisen: 1', 'require-writer: maybe'), '  - connect: x'],
    [1, 1, /^lgo-format: unknown key; did you mean log-format\?$/],
    [4, 5, /lisen: unknown key; did you mean listen\?$/],
    [5, 21, /require-writer: "maybe" is not true or false$/],
    [6, 5, /^rds-endpoint is missing$/],
  ],
  'a list where one value belongs': [one('profile: [dev, prod]'), [3, 14, /profile: takes one value$/]],
  'an address of another machine': [
    one('listen: 192.0.2.1:3306', 'trust-network: true'),
    [3, 13, /EADDRNOTAVAIL|cannot/],
  ],
}

/** Only a bind finds these, so the start's own report is another one. */
const FOUND_BY_LISTENING = ['an address of another machine']

const SECRETS = /hunter2|2470C0C0|\$2y\$|right-password/

/** A folder with the files that the configurations name. Paths are relative, so it is the working directory. */
async function enterFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  const before = process.cwd()
  process.chdir(folder)
  t.teardown(async () => {
    process.chdir(before)
    await rm(folder, { recursive: true })
  })
  const authority = await createAuthority('files')
  for (const name of ['tls', 'other']) {
    const { certificate, key } = await authority.issue({ names: ['localhost'] })
    await writeFile(`${name}.crt`, certificate)
    await writeFile(`${name}.key`, key)
  }
  const files = {
    pw: 'right-password\n',
    two: 'a\nb\n',
    empty: '',
    bom: '\ufeffpassword\n',
    'encrypted.key': '-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n',
    'broken.pem': ['CERTIFICATE', 'PRIVATE KEY']
      .map(of => `-----BEGIN ${of}-----\nMIIB\n-----END ${of}-----\n`)
      .join(''),
  }
  for (const [name, text] of Object.entries(files)) await writeFile(name, text, { mode: 0o600 })
  return folder
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'no error'
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== 'CONFIG_INVALID') throw error
    return error.message
  }
}

test('config check and a start refuse the same mistakes, each with its place and a mark under it', async t => {
  await enterFolder(t)
  t.ok(Object.keys(WRONG).length >= 40)
  for (const [name, [lines, ...mistakes]] of Object.entries(WRONG)) {
    const config = 'proxy.yaml'
    await writeFile(config, lines.map(line => `${line}\n`).join(''))
    const message = await messageOf(configCommand('check', { config }, {}))
    const reported = message.split('\n')
    t.equal(reported.length, 3 * mistakes.length, `${name}: ${message}`)
    mistakes.forEach(([line, column, about], index) => {
      const [problem = '', shown = '', mark = ''] = reported.slice(3 * index).map(text => text.replace(/^ +(?=\S)/, ''))
      t.ok(problem.startsWith(`proxy.yaml:${line}:${column}: `), `${name}: ${problem}`)
      t.match(problem.replace(/^proxy\.yaml:\d+:\d+: (?:endpoint \S+: )?/, ''), about, name)
      t.ok(shown.startsWith(`${line} | `.trimEnd()), `${name}: ${shown}`)
      t.equal(mark, `| ${' '.repeat(column - 1)}^`, `${name}: the mark`)
      t.notMatch(problem, '--', `${name}: the words of the file`)
    })
    t.notMatch(message, SECRETS, name)
    if (!FOUND_BY_LISTENING.includes(name)) {
      t.equal(await messageOf(run({ config }, [], new AbortController().signal)), message, `${name}: a start`)
    }
  }
})

test('--syntax-only looks at no files and addresses', async t => {
  await enterFolder(t)
  const lines = [...user('password-file: none'), '    tls-cert: none', '    tls-key: none', '    listen: 192.0.2.1:1']
  await writeFile('proxy.yaml', `admin-listen: 0.0.0.0:2\nadmin-token-file: none\n${lines.join('\n')}\n`)
  const flags = { config: 'proxy.yaml', 'syntax-only': true }
  t.equal(
    await configCommand('check', flags, {}),
    'The configuration is good: 1 endpoint. Files and addresses were not checked.',
  )
  t.match(await configCommand('show', flags, {}), /password-file: none/)
  t.match(await messageOf(configCommand('check', { config: 'proxy.yaml' }, {})), /ENOENT/)
})

test('a port in use is a warning, because the running proxy may use it', async t => {
  await enterFolder(t)
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await writeFile('proxy.yaml', one(`listen: 127.0.0.1:${port}`).join('\n'))
  t.match(
    await configCommand('check', { config: 'proxy.yaml' }, {}),
    /^Warning: proxy\.yaml:3:13: endpoint .*: listen: 127\.0\.0\.1:\d+ is in use, perhaps by the running proxy\nThe config.* good/,
  )
})

test('a unix socket: its folder may be missing, but not open to others, and the path not a file', async t => {
  const folder = await enterFolder(t)
  const check = async (path: string) => {
    await writeFile('proxy.yaml', one(`listen: unix:${path}`).join('\n'))
    return await messageOf(configCommand('check', { config: 'proxy.yaml' }, {}))
  }
  t.equal(await check(`${folder}/later/mysql.sock`), 'no error')
  t.match(await check(`${folder}/pw`), /proxy\.yaml:3:13: .*the path exists and is not a socket/)
  t.match(await check(`${folder}/pw/mysql.sock`), /pw is not a directory/)
})

test('an expired certificate is a warning, for the check and for a start', async t => {
  await enterFolder(t)
  const authority = await createAuthority('dates')
  const day = 24 * 60 * 60_000
  await writeFile('proxy.yaml', one('tls-cert: dated.crt', 'tls-key: dated.key', 'listen: 127.0.0.1:0').join('\n'))
  for (const [from, until, warning] of [
    [-2 * day, -day, /^Warning: proxy\.yaml:3:15: .*tls-cert dated\.crt: the certificate expired on \d{4}-/],
    [day, 2 * day, /^Warning: proxy\.yaml:3:15: .*tls-cert dated\.crt: the certificate is not valid before \d{4}-/],
  ] as const) {
    const dates = { notBefore: new Date(Date.now() + from), notAfter: new Date(Date.now() + until) }
    const { certificate, key } = await authority.issue({ names: ['localhost'], ...dates })
    await writeFile('dated.crt', certificate)
    await writeFile('dated.key', key)
    t.match(await configCommand('check', { config: 'proxy.yaml' }, {}), warning)
    await checkConfig(await loadConfig({ config: 'proxy.yaml' }, [], {}), silent)
  }
})

test('a line is shown without secrets', t => {
  const shown = (text: string, line = 1, column = 1) => createConfigText('x', text).show(line, column).split('\n')
  for (const [text, expected] of [
    ['password: hunter2', '1 | password: …'],
    ['{name: a, password: hunter2, user: hunter2}', '1 | {name: a, password: …'],
    ["password-hash: '*2470'", '1 | password-hash: …'],
    ['password-hash: *2470', '1 | password-hash: …'],
    ['"password": "hunter2", "user": "a"', '1 | "password": …'],
    ['password: hunter: 2', '1 | password: …'],
    ['password: !hunter2 x', '1 | password: …'],
    ['db-pw: hunter2', '1 | db-pw: …'],
    ['hunter2', '1 | …'],
    ['listen: a # password: hunter2', '1 | listen: a'],
    ['rds-endpoint: mysql://u:hunter2@db.example/', '1 | rds-endpoint: mysql://db.example/'],
    ["proxy: 'socks5://u:hunter2@db.example'", "1 | proxy: 'socks5://db.example'"],
    ['connect: u:hunter2@db.example', '1 | connect: db.example'],
    ['user: a@example.com', '1 | user: a@example.com'],
    ['lisen: 127.0.0.1:3306', '1 | lisen: 127.0.0.1:3306'],
    ['user: a\u001b[31m\r', '1 | user: a [31m'],
  ] as const) {
    t.equal(shown(text)[0], expected, text)
    t.notMatch(shown(text).join('\n'), /hunter|2470/, text)
  }
  for (const text of [
    'password: |\n  hunter2\n  hunter2\n',
    'password:\n  - hunter2\n  - hunter2\n',
    'password: "a\n hunter2\n hunter2',
  ]) {
    for (const line of [1, 2, 3]) t.notMatch(shown(text, line).join('\n'), 'hunter2', text)
  }
  t.same(shown('a: b', 9), ['9 | ', '  | ^'], 'a line behind the end')
  t.same(shown('{connect: "u:p@db", user: b}', 1, 21), ['1 | {connect: "db", user: b}', '  |                 ^'])
  t.same(shown('{password: x, user: b}', 1, 15), ['1 | {password: …', '  |            ^'])
  const [line, mark] = shown(`user: ${'x'.repeat(300)}`, 1, 200)
  t.ok(line!.length <= 130 && mark!.length <= 130, 'a long line is cut around the place')
  t.end()
})
