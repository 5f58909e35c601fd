/** The declarations that a consumer's compiler reads: nothing internal is reachable, and every public type has an exported name. */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))

/** All that src/index.ts leads to. A file here is for everybody: its types are public, and its imports are of this list. */
const PUBLIC = [
  'aws/credentials-given',
  'aws/roles-anywhere-options',
  'client/local-user-options',
  'endpoint',
  'error-codes',
  'errors',
  'events',
  'forward-proxy',
  'index',
  'log',
  'option-values',
  'proxy/options',
  'proxy/proxy-api',
  'proxy/status',
]

/** Modules of Node.js that the types need: @types/node has them. */
const OF_NODE = ['node:events', 'node:http', 'node:stream']

/** Types of those files that options, events and status do not use. */
const INTERNAL = [
  'CombinedOptions',
  'Emit',
  'Endpoint',
  'Events',
  'ForwardProxy',
  'ForwardProxyProtocol',
  'Listen',
  'OptionNames',
]

/** What ProxyError has for a host program, besides the members of Error. */
const OF_ERRORS = ['name', 'code', 'hint', 'constructor']

test('the declarations lead to public files only', async t => {
  const directory = t.testdir({})
  // tap loads code into every Node.js process of a test, and tsc fails with it.
  const tsc = ['-u', 'NODE_OPTIONS', join(root, 'node_modules/.bin/tsc'), '-p', join(root, 'tsconfig.build.json')]
  await promisify(execFile)('env', [...tsc, '--emitDeclarationOnly', '--outDir', directory])
  const source = join(directory, 'src')
  // @internal takes members away that another declaration may name.
  const strict = [
    '--noEmit',
    '--skipLibCheck',
    'false',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--module',
    'nodenext',
  ]
  const libraries = ['--target', 'es2022', '--lib', 'es2022', '--types', 'node']
  const roots = ['--typeRoots', join(root, 'node_modules/@types')]
  const entries = ['index', 'sync-targets/lambda'].map(name => join(source, `${name}.d.ts`))
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
  const check = [...tsc.slice(0, 3), '--ignoreConfig', ...strict, ...libraries, ...roots, ...entries]
  const said = await promisify(execFile)('env', check).catch(error => error)
  t.equal(said.stdout, '', 'they compile in a program that checks them')
  const modules = new Set<string>()
  async function walk(path: string, texts: Map<string, string>): Promise<void> {
    if (texts.has(path)) return
    const text = (await readFile(`${path}.d.ts`, 'utf8')).replace(/\/\*.*?\*\//gs, '')
    texts.set(path, text)
    for (const [, from, imported] of text.matchAll(/\bfrom ['"]([^'"]+)['"]|\bimport\(['"]([^'"]+)['"]\)/g)) {
      const name = (from ?? imported)!
      if (name.startsWith('.')) await walk(join(dirname(path), name.replace(/\.[jt]s$/, '')), texts)
      else modules.add(name)
    }
  }
  const texts = new Map<string, string>()
  await walk(join(source, 'index'), texts)
  t.same([...texts.keys()].map(path => relative(source, path)).sort(), PUBLIC)
  t.same([...modules].sort(), OF_NODE)

  const index = texts.get(join(source, 'index'))!
  const declared = [...texts.values()].flatMap(text =>
    Array.from(text.matchAll(/^export (?:interface|type|declare class) (\w+)/gm), match => match[1]!),
  )
  t.ok(declared.length > 20)
  for (const name of declared)
    if (!INTERNAL.includes(name)) t.match(index, new RegExp(`\\b${name}\\b`), `${name} is exported`)
  for (const text of texts.values()) t.notMatch(text, /^\s+private |#private/m, 'no private field')

  const proxyError = /class ProxyError .*?\n\}/s.exec(texts.get(join(source, 'errors'))!)![0]
  const members = Array.from(proxyError.matchAll(/^ {4}(?:readonly )?(\w+)[:(]/gm), match => match[1])
  t.same(members, OF_ERRORS, 'the members of ProxyError')

  const ofLambda = new Map<string, string>()
  await walk(join(source, 'sync-targets/lambda'), ofLambda)
  t.same(
    [...ofLambda.keys()].map(path => relative(source, path)),
    ['sync-targets/lambda', 'sync-targets/plan'],
  )
  const values = [...ofLambda.values()][0]!.matchAll(/^export declare \w+ (\w+)/gm)
  t.same(
    Array.from(values, match => match[1]),
    ['handler'],
    'the one value that the Lambda module exports',
  )
})
