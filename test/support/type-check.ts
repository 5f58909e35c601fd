/** Checks values against TypeScript types, where those are the only schema that npm has of a format. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))

export interface TypedValue {
  /** stands for the value in messages */
  name: string
  value: unknown
  /** the module that exports the type */
  module: string
  type: string
}

/**
 * What the compiler says of the values: unknown properties at any depth, missing ones, wrong types. Empty when all is
 * well. An unknown module or type is a complaint too.
 */
export async function typeErrors(values: readonly TypedValue[]): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-types-'))
  try {
    await symlink(modules, join(directory, 'node_modules'))
    await mkdir(join(directory, 'values'))
    for (const [index, { value, module, type }] of values.entries()) {
      const source = `import type { ${type} } from '${module}'\nexport const value: ${type} = ${JSON.stringify(value, null, 1)}\n`
      await writeFile(join(directory, 'values', `${index}.ts`), source)
    }
    const compilerOptions = {
      strict: true,
      exactOptionalPropertyTypes: false,
      // kubernetes-types has neither "exports" nor file extensions in its imports
      module: 'preserve',
      moduleResolution: 'bundler',
      target: 'es2023',
      types: [],
      skipLibCheck: true,
      noEmit: true,
    }
    await writeFile(join(directory, 'package.json'), '{"type":"module"}')
    await writeFile(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['values'] }))
    const output = await compile(directory)
    return output
      .split('\n')
      .filter(line => line.trim() !== '')
      .map(line => line.replace(/^values\/(\d+)\.ts/, (_path, index: string) => values[Number(index)]!.name))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function compile(directory: string): Promise<string> {
  // tap has every Node.js process that a test starts load code of its own, which tsc does not bear.
  const command = ['-u', 'NODE_OPTIONS', join(modules, '.bin/tsc'), '--pretty', 'false', '-p', '.']
  return new Promise((resolve, reject) => {
    execFile('env', command, { cwd: directory }, (error, stdout, stderr) => {
      if (error && stdout === '') reject(new Error(`tsc: ${error.message} ${stderr}`))
      else resolve(stdout)
    })
  })
}
