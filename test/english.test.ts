/** Plain English in everything that people read: words and turns of phrase that a reader stumbles over must not come back. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

/** Each with the better word. */
const BANNED: readonly (readonly [pattern: RegExp, better: string])[] = [
  [/\bmend(s|ed|ing)?\b/i, 'fix'],
  [/\bshall\b/i, 'must, will'],
  [/\bwho(m)?ever\b/i, 'anyone who'],
  [/\b(is|are) there twice\b/i, 'duplicate'],
  [/\b(cannot|can't|can not) be had\b/i, 'unavailable'],
  [/\bthat cannot be\b(?! \w)/i, 'invalid'],
  [/\bwhat (is|are) gone\b/i, 'removed'],
  [/\bwho leaves\b/i, 'a client that disconnects'],
  [/\banew\b/i, 'again'],
  [/\ball the same\b/i, 'anyway'],
  [/\bin place of\b/i, 'instead of'],
  [/\bin its stead\b/i, 'instead'],
  [/\b(is|are) (not )?to be\b/i, 'must (not) be'],
  [/\b(for|of|at) which\b/i, 'two sentences'],
  [/\b(is|are|was|were|be) told\b/i, 'gets an error'],
  [/\blook-ups?\b/i, 'lookup'],
  [/\bfarewell\b/i, 'last packet'],
  [/\bcomplain(s|ed|ing)?\b/i, 'reports, refuses'],
  [
    /\b(certificates?|credentials|tokens?|proxy|process|server|side|sync-targets) (has|have) ended\b/i,
    'has expired, has stopped',
  ],
  [/\bof (its|their) own\b(?! [a-z])/i, 'its own, separate'],
  [/\bone after the other\b/i, 'in sequence'],
  [/\beach with what\b/i, 'each with its'],
]

const FOLDERS = ['.github', 'bench', 'bin', 'docs', 'examples', 'src', 'test']
const TEXT =
  /\.(c|conf|css|go|h|html|java|js|json|md|mjs|php|pl|plist|py|rb|rs|service|sh|socket|ts|ya?ml)$|Dockerfile$/

/** The list itself, and files of other projects. */
const NOT_OURS = /^test\/(english\.test\.ts|support\/schemas\/)|node_modules/

const root = fileURLToPath(new URL('..', import.meta.url))
const inFolders = FOLDERS.flatMap(folder =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(path => `${folder}/${path}`),
)
const pages = readdirSync(root).filter(name => name.endsWith('.md'))
const files = [...pages, ...inFolders].filter(path => TEXT.test(path) && !NOT_OURS.test(path))

/** As one line, so that a phrase is found across lines of a comment. */
function prose(path: string): string {
  return readFileSync(join(root, path), 'utf8').replace(/\s*\n\s*(\*|\/\/|#)?\s*/g, ' ')
}

test('the banned words are recognised, also across lines of a comment', async t => {
  const found = (text: string) => BANNED.filter(([pattern]) => pattern.test(text)).map(([, better]) => better)
  t.same(found('the proxy shall mend it'), ['fix', 'must, will'])
  t.same(found('a value that cannot be.'), ['invalid'])
  t.same(found('a value that cannot be parsed'), [])
})

for (const [pattern, better] of BANNED) {
  test(`no ${pattern.source}`, async t => {
    for (const path of files) {
      const text = prose(path)
      const at = text.search(pattern)
      if (at >= 0) t.fail(`${path}: "${text.slice(Math.max(0, at - 40), at + 50)}"; write: ${better}`)
    }
    t.ok(files.length > 300, `${files.length} files`)
  })
}
