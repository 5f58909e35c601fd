/** The licenses of everything inside an executable or the npm package: packages of npm, and Node.js. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './project.ts'

interface Locked {
  version: string
  license?: string
}

/**
 * The text of a file of licenses. Packages with the same text share it.
 * @param packages directories of those that are inside
 * @param nodeLicense that of Node.js
 */
export async function thirdPartyNotices(packages: readonly string[], nodeLicense?: string): Promise<string> {
  const lock: { packages: Record<string, Locked> } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'))
  const byText = new Map<string, string[]>()
  for (const path of packages) {
    const { version, license } = lock.packages[path]!
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
    const text = (await licenseText(join(ROOT, path))) ?? `License: ${license ?? 'unknown'}`
    byText.set(text, [...(byText.get(text) ?? []), `${name} ${version} (${license ?? 'see below'})`])
  }
  const sections = [...byText].map(([text, names]) => `${names.join('\n')}\n\n${text}`)
  return [
    'mysql-iam-proxy contains the software below, under these licenses.',
    ...sections,
    ...(nodeLicense ? [`Node.js\n\n${nodeLicense.trim()}`] : []),
  ].join(`\n\n${'-'.repeat(80)}\n\n`)
}

async function licenseText(folder: string): Promise<string | undefined> {
  const names = (await readdir(folder)).filter(name => /^(licen[cs]e|copying|notice)/i.test(name)).sort()
  if (names.length === 0) return undefined
  const texts = await Promise.all(names.map(name => readFile(join(folder, name), 'utf8')))
  return texts.map(text => text.replaceAll('\r\n', '\n').trim()).join('\n\n')
}
