/** The licenses of everything inside an executable: packages of npm, and Node.js. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './project.ts'

interface Locked {
  version: string
  license?: string
  dev?: boolean
  optional?: boolean
  devOptional?: boolean
}

/** The text of a file of licenses. Packages with the same text share it. @param nodeLicense that of Node.js */
export async function thirdPartyNotices(nodeLicense: string | undefined): Promise<string> {
  const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  const byText = new Map<string, string[]>()
  for (const [path, { version, license, dev, devOptional, optional }] of Object.entries(packages)) {
    if (path === '' || dev || devOptional || optional) continue
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
