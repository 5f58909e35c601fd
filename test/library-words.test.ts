/** Hints and messages for users of the library: no flag, no option in the spelling of the command line. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { optionNames } from '../src/config/options.ts'
import { ERRORS, type ErrorCode, FORWARD_HINTS, SERVER_ERRORS } from '../src/error-codes.ts'
import { hintFor, IN_LIBRARY, ProxyError, toERR_Packet, withHint } from '../src/errors.ts'
import { inLibraryWords } from '../src/library-words.ts'

/** Only commands report these. */
const OF_COMMANDS =
  /^(SYNC_|UPGRADE_|SERVICE_|WAIT_|NLB_|PROXY_NOT_FOUND|PROXY_LOGIN_FAILED|SIGN_IN_FAILED|AWS_NOT_FOUND|TRUST_UPDATE_FAILED)/

test('no hint of the library names an option as the command line does', t => {
  const hyphenated = optionNames.filter(name => name.includes('-'))
  const spelling = new RegExp(`(?<![\\w-])(?:${hyphenated.join('|')})(?![\\w-])`)
  const hints = [
    ...Object.keys(ERRORS)
      .filter(code => !OF_COMMANDS.test(code))
      .map(code => hintFor(new ProxyError(code as ErrorCode, 'x'), { ...IN_LIBRARY, rds: 'db:3306' })),
    ...Object.values(SERVER_ERRORS).map(row => inLibraryWords(row?.hint ?? '')),
    ...Object.values(FORWARD_HINTS).map(hint => inLibraryWords((hint ?? '').replaceAll('{rds}', 'db:3306'))),
  ]
  for (const hint of hints) {
    t.notMatch(hint, spelling)
    t.notMatch(hint, /(?<!-enable-iam|check) --(?!skip-ssl|disable-ssl|get-server|help)[a-z]/, hint)
  }
  t.end()
})

/** Files whose texts the words above replace, and texts that are no option of ours. */
const REPLACED = ['error-codes.ts', 'library-words.ts']
const OF_OTHERS = [
  /\.ts'$/, // an import
  /^'sso-session'$/, // a section of ~/.aws/config
  /^'AWS sign-in'$/,
  /^`\$\{command\} --profile /, // a command of the AWS CLI
  /^'--harmony-/, // Node.js
  /^[`']--(pid=.*|ready)[`']$/, // systemd-notify
  /^`(aws ssm start-session|--parameters) /,
  /^'--version'$/, // session-manager-plugin
  /^`--(rds-endpoint|connect|user) \$\{shellWord/, // the command that the status page shows
  /^'This address serves only health and metrics/, // a listener of the program
]

test('no message of the code that the library loads names an option as the command line does', t => {
  const source = fileURLToPath(new URL('../src', import.meta.url))
  const files = new Map<string, string>()
  const walk = (path: string) => {
    if (files.has(path) || !existsSync(path)) return
    const text = readFileSync(path, 'utf8')
    files.set(path, text.replace(/\/\*.*?\*\//gs, '').replace(/(?:^|\s)\/\/ .*$/gm, ''))
    for (const [, from] of text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) walk(join(dirname(path), from!))
  }
  walk(join(source, 'index.ts'))
  t.ok(files.size > 100, 'the code that the library loads')
  const hyphenated = optionNames.filter(name => name.includes('-'))
  const spelling = new RegExp(`(?<![\\w-])(?:${hyphenated.join('|')})(?![\\w-])|(?<![\\w-])--[a-z]`)
  const found = [...files].flatMap(([path, text]) =>
    (text.match(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`]*`/g) ?? [])
      .filter(literal => spelling.test(literal) && !OF_OTHERS.some(other => other.test(literal)))
      .map(literal => `${relative(source, path)}: ${literal}`),
  )
  const others = found.filter(text => !REPLACED.some(name => text.startsWith(`${name}: `)))
  t.same(others, [])
  t.ok(found.length > others.length, 'the search finds what is there')
  t.end()
})

test('words of the library', t => {
  const cases: [hint: string, expected: string][] = [
    ['Close unused connections, or raise max-connections.', 'Close unused connections, or raise maxConnections.'],
    ['Check my-max-connections and db.rds-endpoint-1.', 'Check my-max-connections and db.rds-endpoint-1.'],
    ['give it a certificate (tls-cert). Or set local-tls off.', 'give it a certificate (tls). Or set localTls off.'],
    [
      'In a new region, run mysql-iam-proxy trust update --rds-endpoint db.example.com:3306. Or not.',
      "In a new region, set the option regionBundle to 'auto'. Or not.",
    ],
  ]
  for (const [hint, expected] of cases) t.equal(inLibraryWords(hint), expected)
  const error = new ProxyError('TOO_MANY_CONNECTIONS', 'x')
  t.match(toERR_Packet(error, {}).message, /raise max-connections/, 'the command line keeps its own')
  t.match(toERR_Packet(error, IN_LIBRARY).message, /raise maxConnections/)
  t.end()
})

test('an error that goes to the host program has its hint', t => {
  const error = withHint(new ProxyError('LISTEN_FAILED', 'x')) as ProxyError
  t.equal(error.hint, 'Set the option listen to another address or port. Port 0 takes a free one.')
  t.equal((withHint(error) as ProxyError).hint, error.hint)
  t.equal((withHint(new ProxyError('CONFIG_INVALID', 'x', { hint: 'own' })) as ProxyError).hint, 'own')
  const other = new Error('x')
  t.equal(withHint(other), other)
  t.end()
})
