/** Checks values against TypeScript types, for formats without another schema on npm. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))

export interface TypedValue {
  /** the name of the value in messages */
  name: string
  value: unknown
  /** the module that exports the type */
  module: string
  type: string
}

/**
 * The errors of the compiler about the values: unknown properties at any depth, missing ones, wrong types. Empty if there
 * are none. An unknown module or type is an error too.
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

/**
 * What the compiler says of these files, by their names, which import the sources of this project by their paths. Types of
 * Node.js are known.
 */
export async function compilerErrors(files: Readonly<Record<string, string>>): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-types-'))
  try {
    await symlink(modules, join(directory, 'node_modules'))
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text)
    const compilerOptions = {
      noEmit: true,
      types: ['node'],
      rewriteRelativeImportExtensions: false,
      allowImportingTsExtensions: true,
      noUnusedLocals: false,
      noUnusedParameters: false,
    }
    const extended = { extends: join(modules, '../tsconfig.json'), compilerOptions, include: ['*.ts'] }
    await writeFile(join(directory, 'package.json'), '{"type":"module"}')
    await writeFile(join(directory, 'tsconfig.json'), JSON.stringify(extended))
    return (await compile(directory)).split('\n').filter(line => line.trim() !== '')
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function compile(directory: string): Promise<string> {
  // tap loads code into every Node.js process of a test, and tsc fails with it.
  const command = ['-u', 'NODE_OPTIONS', join(modules, '.bin/tsc'), '--pretty', 'false', '-p', '.']
  return new Promise((resolve, reject) => {
    execFile('env', command, { cwd: directory }, (error, stdout, stderr) => {
      if (error && stdout === '') reject(new Error(`tsc: ${error.message} ${stderr}`))
      else resolve(stdout)
    })
  })
}
