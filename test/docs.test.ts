/** Documentation: links lead somewhere, and the architecture describes the files and their imports as they are. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const root = fileURLToPath(new URL('..', import.meta.url))
const NOT_OURS = new Set(['.git', '.tap', 'dist', 'node_modules'])

const pages = new Map(findPages(root).map(path => [relative(root, path), readFileSync(path, 'utf8')]))
const page = (path: string) => pages.get(path) ?? ''

test('every relative link leads to a file, and its fragment to a heading', async t => {
  let links = 0
  for (const [path, text] of pages) {
    for (const [, target = ''] of withoutCode(text).matchAll(/\]\(<?([^)\s>]+)>?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file = '', fragment] = target.split('#')
      const linked = file === '' ? path : join(dirname(path), decodeURIComponent(file))
      t.ok(existsSync(join(root, linked)), `${path}: ${target}`)
      if (fragment && linked.endsWith('.md')) t.ok(anchorsOf(page(linked)).has(fragment), `${path}: ${target}`)
      links++
    }
  }
  t.ok(links > 100, `${links} links`)
})

test('docs/architecture.md: every file that it names exists, and it names every folder of src', async t => {
  const text = page('docs/architecture.md')
  const named = new Set([...text.matchAll(/`(src\/[\w./-]*)`/g)].map(([, path]) => path!))
  t.ok(named.size > 50, `${named.size} paths`)
  for (const path of named) t.ok(existsSync(join(root, path)), path)

  const diagram = text.split('```')[1] ?? ''
  const inDiagram = [...diagram.matchAll(/\b([a-z]+)\/([\w-]+\.ts)/g)]
  t.ok(inDiagram.length > 10, `${inDiagram.length} files in the diagram`)
  for (const [, folder, file] of inDiagram) t.ok(existsSync(join(root, 'src', folder!, file!)), `${folder}/${file}`)

  for (const { name } of readdirSync(join(root, 'src'), { withFileTypes: true }).filter(entry => entry.isDirectory())) {
    t.ok(named.has(`src/${name}/`), `src/${name}/`)
  }
})

test('docs/architecture.md: no folder of src imports more than its table of import rules allows', async t => {
  const section = page('docs/architecture.md').split('## Import rules')[1] ?? ''
  const allowed = new Map<string, string[]>()
  for (const [, left = '', right = ''] of section.matchAll(/^\| (`.*?) \| (.*) \|$/gm)) {
    for (const folder of foldersIn(left)) allowed.set(folder, foldersIn(right))
  }
  const folders = readdirSync(join(root, 'src'), { withFileTypes: true })
  for (const { name } of folders.filter(entry => entry.isDirectory() && entry.name !== 'commands')) {
    t.ok(allowed.has(name), `a row for ${name}/`)
    for (const file of readdirSync(join(root, 'src', name)).filter(file => file.endsWith('.ts'))) {
      const text = readFileSync(join(root, 'src', name, file), 'utf8')
      for (const [, folder = ''] of text.matchAll(/(?:from |import\(|import )'\.\.\/([\w-]+)\//g)) {
        t.ok(allowed.get(name)?.includes(folder), `${name}/${file} imports ${folder}/`)
      }
    }
  }
})

test('docs/architecture.md names each file, except those of commands with their own page or list', async t => {
  const text = page('docs/architecture.md')
  for (const path of sourceFiles()) {
    if (/^(commands|check|demo|sync-targets)\//.test(path)) continue
    t.ok(text.includes(`\`src/${path}\``), path)
  }
})

test('imports of src have no circle', async t => {
  const imports = new Map(sourceFiles().map(path => [path, importsOf(path)]))
  t.ok(imports.size > 70, `${imports.size} files`)
  t.equal(circleIn(imports), undefined)
})

test('a planted circle is found', async t => {
  const imports = new Map([
    ['a.ts', ['b.ts']],
    ['b.ts', ['c.ts', 'd.ts']],
    ['c.ts', []],
    ['d.ts', ['c.ts', 'b.ts']],
  ])
  t.equal(circleIn(imports), 'b.ts -> d.ts -> b.ts')
})

test('the lint refuses a planted import against the rules, in each folder that has rules', async t => {
  const planted = {
    'clock.ts': './net/wire.ts',
    'protocol/x.ts': 'node:net',
    'net/x.ts': '../aws/token.ts',
    'aws/x.ts': '../upstream/tls.ts',
    'relay/x.ts': '../client/tls.ts',
    'client/x.ts': '../upstream/tls.ts',
    'upstream/x.ts': '../client/tls.ts',
    'tunnel/x.ts': '../upstream/dial.ts',
    'proxy/x.ts': '../config/load.ts',
    'config/x.ts': '../commands/run.ts',
    'admin/x.ts': '../proxy/proxy.ts',
    'check/x.ts': '../config/load.ts',
    'sync-targets/x.ts': '../config/load.ts',
    'sync-targets/plan.ts': './sync.ts',
    'list/x.ts': '../check/check.ts',
    'demo/x.ts': '../upstream/login.ts',
  }
  const source = (specifier: string) => `import * as planted from '${specifier}'\n\nexport const used = planted\n`
  const folders: Record<string, Record<string, string>> = {}
  for (const [path, specifier] of Object.entries({ ...planted, 'relay/good.ts': '../protocol/packets.ts' })) {
    const folder = dirname(path)
    folders[folder] = { ...folders[folder], [path.slice(path.lastIndexOf('/') + 1)]: source(specifier) }
  }
  const { '.': top, ...others } = folders
  const directory = t.testdir({
    'biome.json': readFileSync(join(root, 'biome.json'), 'utf8'),
    src: { ...top, ...others },
  })
  const lint = [
    'lint',
    '--colors=off',
    '--max-diagnostics=none',
    '--only=style/noRestrictedImports',
    '--reporter=github',
  ]
  const biome = spawnSync(join(root, 'node_modules/.bin/biome'), lint, { cwd: directory, encoding: 'utf8' })
  const found = [...biome.stdout.matchAll(/noRestrictedImports,file=(?:.*\/)?src\/([\w/.-]+),/g)].map(
    ([, path]) => path,
  )
  t.same([...new Set(found)].sort(), Object.keys(planted).sort(), biome.stderr)
})

test('docs/decisions: the index lists each decision with its number, date and title', async t => {
  const index = page('docs/decisions/README.md')
  const decisions = [...pages].filter(([path]) => /^docs\/decisions\/\d/.test(path))
  t.ok(decisions.length > 0)
  for (const [path, text] of decisions) {
    const name = path.slice('docs/decisions/'.length)
    const [, number, title] = /^# (\d+)\. (.+)$/m.exec(text) ?? []
    const [, date] = /^Date: (\d{4}-\d\d-\d\d) · Status: \w+/m.exec(text) ?? []
    t.equal(number?.padStart(4, '0'), name.slice(0, 4), `${name}: number`)
    t.ok(date, `${name}: date and status`)
    for (const section of ['Context', 'Decision', 'Consequences']) t.match(text, `\n## ${section}\n`, name)
    t.match(index, `| [${name.slice(0, 4)}](${name}) | ${date} | ${title} |`, `index: ${name}`)
  }
})

test('every npm script that a page names is in package.json', async t => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const README = page('README.md')
  for (const command of ['npm ci && npm run demo', 'npm ci && npm test']) {
    const place = README.indexOf(command)
    t.ok(place > 0 && place < README.indexOf('## Use it'), `${command} is above "Use it"`)
  }
  for (const [path, text] of pages) {
    if (path.startsWith('examples/')) continue
    for (const [, script = ''] of text.matchAll(/\bnpm run ([a-z][\w:-]*)/g))
      t.ok(script in scripts, `${path}: ${script}`)
  }
})

/** Of src, without the status page. */
function sourceFiles(): string[] {
  const paths = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  return paths.filter(path => path.endsWith('.ts')).sort()
}

/** The files of src that a file imports, also as types and when it needs them. */
function importsOf(path: string): string[] {
  const text = readFileSync(join(root, 'src', path), 'utf8')
  const specifiers = [...text.matchAll(/(?:from|import|import\()\s*'(\.[^']+)'/g)].map(([, specifier]) => specifier!)
  return specifiers.map(specifier => normalize(join(dirname(path), specifier)))
}

function circleIn(imports: ReadonlyMap<string, readonly string[]>): string | undefined {
  const done = new Set<string>()
  const visit = (path: string, trail: string[]): string | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(' -> ')
    if (done.has(path)) return undefined
    for (const imported of imports.get(path) ?? []) {
      const circle = visit(imported, [...trail, path])
      if (circle) return circle
    }
    done.add(path)
    return undefined
  }
  for (const path of imports.keys()) {
    const circle = visit(path, [])
    if (circle) return circle
  }
  return undefined
}

function foldersIn(cell: string): string[] {
  return [...cell.matchAll(/`([\w-]+)\/`/g)].map(([, folder]) => folder!)
}

function findPages(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap(entry => {
    if (NOT_OURS.has(entry.name)) return []
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return findPages(path)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

/** The anchors that GitHub gives to the headings of a page. */
function anchorsOf(text: string): Set<string> {
  const headings = withoutCodeBlocks(text).matchAll(/^#{1,6} (.+)$/gm)
  const anchors = [...headings].map(([, heading = '']) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )
  return new Set([...anchors, ...[...text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, id]) => id!)])
}

function withoutCode(text: string): string {
  return withoutCodeBlocks(text).replace(/`[^`\n]*`/g, '')
}

function withoutCodeBlocks(text: string): string {
  return text.replace(/^```.*?^```/gms, '')
}
