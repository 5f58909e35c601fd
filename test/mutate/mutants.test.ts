import { existsSync } from 'node:fs'
import { test } from 'tap'
import { EQUIVALENT } from './equivalent.ts'
import { applyMutant, createMutants, describeMutant } from './mutants.ts'
import { TARGETS } from './targets.ts'

/** What becomes of `source`, each mutant once. */
function mutationsOf(source: string): string[] {
  return createMutants(source).map(mutant => applyMutant(source, mutant))
}

test('each mutant is one change', async t => {
  t.same(mutationsOf('x = a < 1'), [';', 'x = a <= 1', 'x = a < 2'])
  t.same(mutationsOf('export const f = a => !a'), ['export const f = a => undefined', 'export const f = a => a'])
  t.same(mutationsOf('if (a && b) {}'), ['if (true) {}', 'if (false) {}', 'if (a || b) {}'])
  t.same(mutationsOf('export const r = /^a$/i'), ['export const r = /a$/i', 'export const r = /^a/i'])
  t.same(mutationsOf('const n = Math.min(a, b)'), ['const n = Math.max(a, b)'])
})

test('the wording of messages and the names of imports stay', async t => {
  t.same(mutationsOf("import a from 'a'"), [])
  t.same(mutationsOf("throw new Error('wrong')"), [';'])
  t.same(mutationsOf("const a = 'x' + b"), ["const a = '' + b"])
})

test('a mutant is named by its line', async t => {
  const source = 'let a = 1\nconst b = a + 2\n'
  const [, plus] = createMutants(source)
  t.equal(plus!.line, 2)
  t.equal(describeMutant(source, plus!), 'const b = a «+ → -» 2')
})

test('all files exist', async t => {
  for (const { file, tests } of TARGETS) for (const path of [file, ...tests]) t.ok(existsSync(path), path)
  for (const { file } of EQUIVALENT) t.ok(existsSync(file), file)
})
