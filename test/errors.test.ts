import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { ERRORS, type ErrorCode, SERVER_ERRORS } from '../src/error-codes.ts'
import { hintFor, ProxyError, toERR_Packet } from '../src/errors.ts'

/** As long as names get: an Aurora cluster's name has up to 63 characters, a load balancer's 32. */
const VALUES = {
  rds: `${'n'.repeat(63)}.cluster-ro-abcdefghijkl.ap-northeast-1.rds.amazonaws.com:3306`,
  dial: `${'n'.repeat(32)}-0123456789abcdef.elb.ap-northeast-1.amazonaws.com:3306`,
  region: 'ap-northeast-1',
  user: 'u'.repeat(32),
  ssoLogin: 'aws sso login --profile a-profile-of-a-good-length',
}

test('with long names, a client still reads what happened and what to do', t => {
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
    const { message } = toERR_Packet(error, VALUES)
    t.ok(Buffer.byteLength(message) <= 511, `${name}: ${Buffer.byteLength(message)} bytes`)
    t.match(message, what, `${name}: what happened`)
    t.ok(message.includes(hintFor(error, VALUES)), `${name}: what to do`)
    t.notMatch(message, /[{}]|\((rds|dial|region|user|ssoLogin)\)/, `${name}: all filled in`)
  }
  t.end()
})

test('the pages of this project that errors lead to are there', async t => {
  const docs = [...Object.values(ERRORS), ...Object.values(SERVER_ERRORS)].map(row => row.docs)
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
