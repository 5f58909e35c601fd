import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { CLIENT_ERRORS, ERRORS, type ErrorCode, FORWARD_HINTS, SERVER_ERRORS } from '../src/error-codes.ts'
import { fillHint, hintFor, ProxyError, toERR_Packet } from '../src/errors.ts'

/** The longest names: 63 characters for an Aurora cluster, 32 for a load balancer. */
const VALUES = {
  rds: `${'n'.repeat(63)}.cluster-ro-abcdefghijkl.ap-northeast-1.rds.amazonaws.com:3306`,
  dial: `${'n'.repeat(32)}-0123456789abcdef.elb.ap-northeast-1.amazonaws.com:3306`,
  region: 'ap-northeast-1',
  user: 'u'.repeat(32),
  ssoLogin: 'mysql-iam-proxy login --profile a-profile-of-a-good-length',
  nextStep: 'Check the name servers of this machine: dig database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com.',
}

/** As long as that of a busy process. */
const SESSION = 'k3f9-1234567'

test('with long names, the client still gets what happened and what to do', t => {
  const what = 'w'.repeat(130)
  const errors = [
    ...(Object.keys(ERRORS) as ErrorCode[]).map(code => new ProxyError(code, what)),
    ...Object.keys(SERVER_ERRORS).map(errno => {
      const serverError = { errno: Number(errno), sqlState: 'HY000', message: what }
      return new ProxyError('UPSTREAM_REFUSED_LOGIN', what, { serverError })
    }),
  ]
  for (const error of errors) {
    const name = `${error.code} ${error.serverError?.errno ?? ''}`
    const { message } = toERR_Packet(error, VALUES, SESSION)
    t.ok(Buffer.byteLength(message) <= 511, `${name}: ${Buffer.byteLength(message)} bytes`)
    t.match(message, what, `${name}: what happened`)
    t.ok(message.includes(hintFor(error, VALUES)), `${name}: what to do`)
    const isVerbatim = error.serverError && hintFor(error, VALUES) === ''
    t.equal(message.includes(SESSION), !isVerbatim, `${name}: the session`)
    t.notMatch(message, /[{}]|\((rds|dial|region|user|ssoLogin|nextStep)\)/, `${name}: all filled in`)
  }
  t.end()
})

test('a tunnel on this machine has its own hints, without a word about a load balancer', t => {
  const values = { ...VALUES, dial: '127.0.0.1:13306', forward: '127.0.0.1:13306' }
  for (const [code, hint] of Object.entries(FORWARD_HINTS)) {
    const serverError = { errno: Number(code), sqlState: 'HY000', message: 'refused' }
    const error = Object.hasOwn(ERRORS, code)
      ? new ProxyError(code as ErrorCode, 'refused')
      : new ProxyError('UPSTREAM_REFUSED_LOGIN', 'refused', { serverError })
    const { message } = toERR_Packet(error, values, SESSION)
    t.match(message, fillHint(hint!, values), code)
    t.ok(Buffer.byteLength(message) <= 511, `${code}: ${Buffer.byteLength(message)} bytes`)
    t.notMatch(message, /NLB|load balancer/i, code)
    t.notMatch(toERR_Packet(error, VALUES, SESSION).message, /tunnel/, `${code}: not for other addresses`)
  }
  const own = new ProxyError('DIAL_REFUSED', 'refused', { hint: 'Its own hint.' })
  t.match(toERR_Packet(own, values).message, 'Its own hint.')
  t.end()
})

test('a message ends once', t => {
  const error = new ProxyError('CREDENTIALS_FAILED', 'AWS credentials: Rate exceeded.')
  t.equal(error.message, 'AWS credentials: Rate exceeded')
  t.match(toERR_Packet(error, VALUES).message, /Rate exceeded\. Check/)
  t.notMatch(toERR_Packet(error, VALUES).message, /\.\./)
  t.end()
})

test('no error has a number that a client library uses for its own errors', t => {
  const isOfClients = (errno: number) => (errno >= 2_000 && errno < 3_000) || (errno >= 5_000 && errno < 6_000)
  for (const [code, { errno }] of Object.entries(ERRORS)) t.notOk(isOfClients(errno), `${code}: ${errno}`)
  for (const errno of Object.keys(SERVER_ERRORS)) t.notOk(isOfClients(Number(errno)), errno)
  for (const errno of Object.keys(CLIENT_ERRORS)) t.ok(isOfClients(Number(errno)), errno)
  t.end()
})

test('only a wrong user or password looks like one', t => {
  const denied = Object.entries(ERRORS).filter(([, { errno, sqlState }]) => errno === 1045 || sqlState === '28000')
  t.same(
    denied.map(([code]) => code),
    [
      'UPSTREAM_REFUSED_LOGIN',
      'AUTH_PLUGIN_UNEXPECTED',
      'IAM_AUTHENTICATION_OFF',
      'CLIENT_ACCESS_DENIED',
      'CLIENT_THROTTLED',
      'CLIENT_NO_USER',
    ],
  )
  for (const [code, { errno, sqlState }] of denied) t.same([errno, sqlState], [1045, '28000'], code)
  t.end()
})

test('hints name options without dashes, for users of the library', t => {
  // Commands and other programs keep theirs.
  const allowed = /--help|trust update --rds-endpoint|--enable-iam-database-authentication|check --json/
  for (const [code, { hint, explanation }] of [...Object.entries(ERRORS), ...Object.entries(SERVER_ERRORS)]) {
    t.notMatch(`${hint} ${explanation}`.replace(allowed, ''), /--\w/, code)
  }
  t.end()
})

test('links from errors to pages of this project work', async t => {
  const docs = [ERRORS, SERVER_ERRORS, CLIENT_ERRORS].flatMap(table => Object.values(table)).map(row => row.docs)
  for (const page of new Set(docs.filter(page => !page.startsWith('https://')))) {
    const [file = '', anchor] = page.split('#')
    const text = await readFile(new URL(`../${file}`, import.meta.url), 'utf8')
    const anchors = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) => slug(title!))
    if (anchor !== undefined) t.ok(anchors.includes(anchor), page)
    else t.ok(text.length > 0, page)
  }
})

/** As GitHub makes anchors of headings. */
function slug(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}
