/** `mysql-iam-proxy login`, and sign-ins of the proxy: as processes, with and without a terminal. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { type IdentityCenter, signInWithBrowser, startIdentityCenter } from '../sign-in/identity-center.ts'
import { PROGRAM } from '../support/program.ts'
import { logIn, until } from '../support/proxy.ts'
import { goodLogin, RDS_HOST, startScriptedUpstream, testCertificates } from '../support/scripted-upstream.ts'
import { startOnTerminal } from '../support/terminal.ts'

/** A minimal environment: no display, no AWS variables of this machine. */
function environmentOf({ environment }: IdentityCenter, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { PATH, NODE_OPTIONS } = process.env
  return { PATH, NODE_OPTIONS, ...environment, ...more }
}

/** Starts the program without a terminal. */
function start(t: Test, args: string[], environment: NodeJS.ProcessEnv) {
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, ...args], { env: environment, stdio: ['pipe', 'pipe', 'pipe'] })
  const written = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      written[name] += text
    })
  }
  const ended = once(child, 'close').then(([code]) => code as number | null)
  t.teardown(async () => {
    if (child.exitCode === null) child.kill()
    await ended
  })
  /** Waits for a text on standard output or error; gives up when the program ends. */
  const waitFor = async (pattern: RegExp) => {
    const isThere = () => pattern.test(written.stdout) || pattern.test(written.stderr)
    await until(() => isThere() || child.exitCode !== null)
    if (!isThere()) throw new Error(`no ${pattern} in:\n${written.stdout}${written.stderr}`)
  }
  return { written, ended, waitFor }
}

test('login without a terminal and without a display: the device code', async t => {
  const center = await startIdentityCenter(t)
  center.decide('approved')
  const { written, ended } = start(t, ['login', '--profile', 'dev'], environmentOf(center))
  t.equal(await ended, 0, written.stderr)
  t.match(written.stderr, `Open this address in any browser:\n\n  ${center.url}/device?user_code=ABCD-EFGH\n`)
  t.match(written.stderr, 'Check that the page shows the code ABCD-EFGH')
  t.match(written.stdout, /^Signed in to https:\/\/example\.awsapps\.com\/start\. The token is valid until .+\.\n$/)
  t.notMatch(written.stdout + written.stderr, /access-token|refresh-token|secret-of-client/)
})

/** A folder of one test, beside the home of the stand-in. */
function createFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A folder with an `xdg-open` that signs in, and the file that it writes the addresses to. */
function createBrowser(t: Test): { folder: string; opened: () => string[] } {
  const folder = createFolder(t)
  const file = join(folder, 'opened')
  const program = join(folder, 'xdg-open')
  writeFileSync(
    program,
    `#!${process.execPath}\nrequire('node:fs').appendFileSync(${JSON.stringify(file)}, process.argv[2] + '\\n')\nfetch(process.argv[2])\n`,
  )
  chmodSync(program, 0o755)
  return { folder, opened: () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []) }
}

test('login with a display: opens the browser once', async t => {
  const center = await startIdentityCenter(t)
  const { folder, opened } = createBrowser(t)
  const environment = environmentOf(center, {
    DISPLAY: ':0',
    PATH: `${folder}:${process.env['PATH']}`,
    NODE_OPTIONS: '',
  })
  // The browser must be the one of the test, also where the tests run in the Linux of Windows.
  const { written, ended } = start(t, ['login', '--profile', 'dev'], { ...environment, ...optionsOf(process.env) })
  t.equal(await ended, 0, written.stderr)
  t.match(written.stderr, /^Your browser opens this address\. If it doesn't, open it in a browser on this machine:\n/)
  t.equal(opened().length, 1)
  t.match(opened()[0], `${center.url}/authorize?`)
  t.match(center.requests.at(-1), 'POST /token authorization_code')
})

/** Coverage needs these in the program, but not in its browser. */
function optionsOf({ NODE_OPTIONS }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return NODE_OPTIONS === undefined ? {} : { NODE_OPTIONS }
}

test('login --no-browser: prints the address and opens nothing', async t => {
  const center = await startIdentityCenter(t)
  const { folder, opened } = createBrowser(t)
  const environment = environmentOf(center, { DISPLAY: ':0', PATH: `${folder}:${process.env['PATH']}` })
  const { written, ended, waitFor } = start(t, ['login', '--sso-session', 'corp', '--no-browser'], environment)
  await waitFor(/Waiting/)
  const url = /^ {2}(http\S+)$/m.exec(written.stderr)?.[1]
  t.equal((await signInWithBrowser(url!)).status, 200)
  t.equal(await ended, 0)
  t.same(opened(), [])
})

test('login: what it refuses', async t => {
  const center = await startIdentityCenter(t)
  for (const [args, exitCode, says] of [
    [['--sso-session', 'other'], 2, /there is no \[sso-session other\]/],
    [['--profile', 'keys'], 2, /does not use IAM Identity Center \(SSO\); profiles that do: dev, old/],
    [['--profile', 'console'], 3, /uses aws login, .*\nRun: aws login --profile console\n/],
    [['--profile', 'nobody'], 3, /the AWS profile nobody does not exist/],
  ] as const) {
    const { written, ended } = start(t, ['login', ...args], environmentOf(center))
    t.equal(await ended, exitCode, args.join(' '))
    t.match(written.stderr, says)
    t.equal(written.stdout, '')
  }
  t.same(center.requests, [])
})

test('login on a terminal: Ctrl-C ends it with 130', async t => {
  const center = await startIdentityCenter(t)
  const terminal = await startOnTerminal(t, [...PROGRAM, 'login', '--profile', 'dev'], environmentOf(center))
  await terminal.waitFor(/Waiting for 10m\. Ctrl-C cancels\./)
  terminal.type('\u0003')
  t.equal(await terminal.end(), 130)
})

/** The arguments of a proxy in front of a scripted database. */
async function serveArguments(t: Test, profile: string): Promise<string[]> {
  const { address } = await startScriptedUpstream(t, Array(20).fill(goodLogin))
  const { authority } = await testCertificates()
  const folder = createFolder(t)
  writeFileSync(join(folder, 'ca.pem'), authority.certificate)
  return [
    ...['--rds-endpoint', RDS_HOST, '--connect', address, '--listen', '127.0.0.1:0'],
    ...['--ca', join(folder, 'ca.pem'), '--ca-only', '--profile', profile, '--token-in-handshake', 'always'],
    // A busy machine must not fail a login.
    ...['--connect-timeout', '1m', '--login-timeout', '2m'],
  ]
}

const addressIn = (text: string) => ({
  host: '127.0.0.1',
  port: Number(/listening on 127\.0\.0\.1:(\d+)/.exec(text)?.[1]),
})

test('the proxy on a terminal: the address stands there and in the error of the client, and the next login works', async t => {
  const center = await startIdentityCenter(t)
  const terminal = await startOnTerminal(t, [...PROGRAM, ...(await serveArguments(t, 'dev'))], environmentOf(center))
  await terminal.waitFor(/listening on/)
  const address = addressIn(terminal.text())
  const { error } = await logIn(t, address)
  t.match(error?.message, `Sign in at ${center.url}/device?user_code=ABCD-EFGH (code ABCD-EFGH) and connect again`)
  const shown = `sign in to AWS: open ${center.url}/device?user_code=ABCD-EFGH and check that the page shows the code ABCD-EFGH`
  // The client may have its error before the terminal has the line.
  await terminal.waitFor(new RegExp(shown.replace(/[?.]/g, '\\$&')))
  center.decide('approved')
  await terminal.waitFor(/signed in to AWS/)
  t.match(await logIn(t, address), { ok: true })
  t.equal(terminal.text().split('user_code=').length - 1, 1, 'the terminal has the address once')
  terminal.type('\u0003')
  t.equal(await terminal.end(), 130)
})

test('the proxy on a terminal with --sign-in never, and without a terminal: the error names the command', async t => {
  const center = await startIdentityCenter(t)
  const args = await serveArguments(t, 'dev')
  const terminal = await startOnTerminal(t, [...PROGRAM, ...args, '--sign-in', 'never'], environmentOf(center))
  await terminal.waitFor(/listening on/)
  const { written, waitFor } = start(t, args, environmentOf(center))
  await waitFor(/listening on/)
  for (const text of [terminal.text(), written.stdout]) {
    const { error } = await logIn(t, addressIn(text))
    t.match(error?.message, 'has expired. Run: mysql-iam-proxy login --profile dev')
  }
  t.same(center.requests, [])
})

test('--sign-in auto without a terminal: the client and the log get the address', async t => {
  const center = await startIdentityCenter(t)
  const { written, waitFor } = start(
    t,
    [...(await serveArguments(t, 'dev')), '--sign-in', 'auto'],
    environmentOf(center),
  )
  await waitFor(/listening on/)
  const { error } = await logIn(t, addressIn(written.stdout))
  t.match(error?.message, `Sign in at ${center.url}/device?user_code=ABCD-EFGH`)
  center.decide('approved')
  await waitFor(/signed in to AWS/)
  t.match(await logIn(t, addressIn(written.stdout)), { ok: true })
})

const MFA = `[profile base]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = secret
[profile admin]
role_arn = arn:aws:iam::123456789012:role/db
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/me
`

test('a profile with mfa_serial: asked on the terminal; without one, an error', async t => {
  const center = await startIdentityCenter(t)
  writeFileSync(join(center.home, 'config'), MFA)
  const environment = environmentOf(center, { AWS_ENDPOINT_URL_STS: center.url })
  const args = await serveArguments(t, 'admin')
  const terminal = await startOnTerminal(t, [...PROGRAM, ...args], environment)
  await terminal.waitFor(/listening on/)
  const address = addressIn(terminal.text())
  t.match((await logIn(t, address)).error?.message, 'The terminal of the proxy asks for it. Type it there')
  await terminal.waitFor(/MFA code of arn:aws:iam::123456789012:mfa\/me \(profile admin\), or Enter for none: /)
  terminal.type('12\r')
  await terminal.waitFor(/A code has six digits\./)
  terminal.type('123456\r')
  await terminal.waitFor(/AWS accepted the code of the MFA device/)
  t.match(await logIn(t, address), { ok: true })
  terminal.type('\u0003')
  t.equal(await terminal.end(), 130, 'Ctrl-C works after the question')

  const { written, waitFor } = start(t, args, environment)
  await waitFor(/listening on/)
  const { error } = await logIn(t, addressIn(written.stdout))
  t.match(error?.message, /profile admin needs the code of an MFA device .* Start the proxy on a terminal/)
})

test('Ctrl-C at the question ends the proxy', async t => {
  const center = await startIdentityCenter(t)
  writeFileSync(join(center.home, 'config'), MFA)
  const environment = environmentOf(center, { AWS_ENDPOINT_URL_STS: center.url })
  const terminal = await startOnTerminal(t, [...PROGRAM, ...(await serveArguments(t, 'admin'))], environment)
  await terminal.waitFor(/listening on/)
  await logIn(t, addressIn(terminal.text()))
  await terminal.waitFor(/or Enter for none: /)
  terminal.type('\u0003')
  t.equal(await terminal.end(), 130)
})

test('exec and check ask for the code before they begin', async t => {
  const center = await startIdentityCenter(t)
  writeFileSync(join(center.home, 'config'), MFA)
  const environment = environmentOf(center, { AWS_ENDPOINT_URL_STS: center.url })
  const args = await serveArguments(t, 'admin')
  await t.test('exec', async t => {
    const words = [...PROGRAM, 'exec', ...args, '--', 'sh', '-c', 'echo "the command has port $MYSQL_PORT"']
    const terminal = await startOnTerminal(t, words, environment)
    await terminal.waitFor(/\(profile admin\), or Enter for none: /)
    t.notMatch(terminal.text(), /the command has port/)
    terminal.type('123456\r')
    await terminal.waitFor(/the command has port \d+/)
    t.equal(await terminal.end(), 0)
  })
  await t.test('exec without a code: the command does not start', async t => {
    const words = [...PROGRAM, 'exec', ...args, '--', 'echo', 'the command runs']
    const terminal = await startOnTerminal(t, words, environment)
    await terminal.waitFor(/or Enter for none: /)
    terminal.type('\r')
    t.equal(await terminal.end(), 3)
    t.match(terminal.text(), /the profile admin needs the code of an MFA device/)
    t.notMatch(terminal.text(), /the command runs/)
  })
  await t.test('exec and Ctrl-C at the question', async t => {
    const terminal = await startOnTerminal(t, [...PROGRAM, 'exec', ...args, '--', 'echo', 'runs'], environment)
    await terminal.waitFor(/or Enter for none: /)
    terminal.type('\u0003')
    t.equal(await terminal.end(), 130)
  })
  await t.test('check', async t => {
    const before = center.requests.filter(line => line === 'POST / AssumeRole').length
    const terminal = await startOnTerminal(t, [...PROGRAM, 'check', 'iam_user', ...args], environment)
    await terminal.waitFor(/\(profile admin\), or Enter for none: /)
    terminal.type('123456\r')
    await terminal.waitFor(/profile\s+admin:\s+a\s+role\s+assumed\s+with\s+another\s+profile/)
    await terminal.end()
    t.equal(center.requests.filter(line => line === 'POST / AssumeRole').length, before + 1, 'one code')
  })
})
