/**
 * A process of run.ts for tests that use no sockets and start no programs: it runs one test file once for each text of a
 * source file. Each time, only the modules that import this file are loaded again, also those that do so by way of others.
 * So a mutant takes milliseconds, not seconds.
 */
import module from 'node:module'
import { pathToFileURL } from 'node:url'
import { t as root, type Test } from 'tap'

/** What run.ts sends: paths, and the texts in JavaScript. The first is the unchanged one. */
export interface Work {
  file: string
  test: string
  texts: readonly string[]
}

interface Loaded {
  url: string
  format?: string
  source?: string
  shortCircuit?: boolean
}
interface Hooks {
  resolve(specifier: string, context: { parentURL?: string }, next: (specifier: string) => Loaded): Loaded
  load(url: string, context: object, next: (url: string) => Loaded): Loaded
}

/** What the test file gets as tap: its tests become part of the current mutant's test. */
const TAP = 'mutate:tap'
let current: Test

const { registerHooks } = module as unknown as { registerHooks(hooks: Hooks): void }

process.once('message', async ({ file, test, texts }: Work) => {
  const changed = pathToFileURL(file).href
  /** by module: those that import it, as the first run has shown */
  const importers = new Map<string, Set<string>>([[changed, new Set()]])
  /** undefined during the first run, which loads all modules */
  let affected: ReadonlySet<string> | undefined
  registerHooks({
    resolve(specifier, context, next) {
      const [parent = '', number] = context.parentURL?.split('?mutant=') ?? []
      if (number === undefined) return next(specifier)
      const isLocal = specifier.startsWith('.')
      const resolved = specifier === 'tap' ? { url: TAP, shortCircuit: true } : next(specifier)
      const { url } = resolved
      const isShared = affected !== undefined && importers.has(url) && !affected.has(url)
      if (!affected) importers.set(url, (importers.get(url) ?? new Set()).add(parent))
      return isLocal ? { ...resolved, url: `${url}?mutant=${isShared ? 0 : number}` } : resolved
    },
    load(url, _context, next) {
      if (url === TAP) return { url, format: 'module', source: SHIM, shortCircuit: true }
      const [path, number] = url.split('?mutant=')
      if (path !== changed || number === undefined) return next(url)
      return { url, format: 'module', source: texts[Number(number)]!, shortCircuit: true }
    },
  })
  for (const number of texts.keys()) {
    await root.test(String(number), async t => {
      current = t
      await import(`${pathToFileURL(test).href}?mutant=${number}`)
    })
    affected ??= allImporters(importers, [changed, TAP])
    await new Promise(resolve => process.send!(current.passing(), resolve))
  }
  process.exit()
})

/** `modules` and all that import one of them, also by way of others. */
function allImporters(importers: ReadonlyMap<string, ReadonlySet<string>>, modules: string[]): Set<string> {
  const found = new Set(modules)
  // Those that are added meanwhile have their turn too.
  for (const one of found) for (const importer of importers.get(one) ?? []) found.add(importer)
  return found
}

const SHIM = `
  export const test = (...args) => globalThis.testOfMutant(...args)
  export default { test, teardown: work => globalThis.teardownOfMutant(work) }`

/** As tap's own `test`. After the first failure, the rest of the file need not run. */
Object.assign(globalThis, {
  testOfMutant: (name: string, ...rest: [...options: { skip: string | false }[], run: (t: Test) => unknown]) => {
    const t = current
    const run = rest.pop() as (t: Test) => unknown
    const [options = {}] = rest as { skip: string | false }[]
    return t.test(name, options, async inner => (t.passing() ? await run(upToFirstFailure(inner)) : undefined))
  },
  teardownOfMutant: (work: () => unknown) => current.teardown(work),
})

/** `t`, whose assertions throw once they have failed: describing hundreds of failures takes seconds. */
function upToFirstFailure(t: Test): Test {
  return new Proxy(t, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const result: unknown = value.apply(target, args)
        if (result === false) throw new Error('the mutant is noticed')
        return result
      }
    },
  })
}
