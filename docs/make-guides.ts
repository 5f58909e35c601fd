/** Copies the files of test/consumers/ into docs/library-guides.md, after the comments that name them: npm run docs */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = new URL('../', import.meta.url)
const page = new URL('docs/library-guides.md', root)

const MARKED = /^<!-- (test\/consumers\/\S+\.([cm]?[jt]s)) -->\n(?:\n```\w+\n.*?^```\n)?/gms

/** The page with each example as its file is. */
export function guides(): string {
  return readFileSync(page, 'utf8').replaceAll(MARKED, (_all, path: string, extension: string) => {
    const language = extension.endsWith('ts') ? 'ts' : 'js'
    return `<!-- ${path} -->\n\n\`\`\`${language}\n${readFileSync(new URL(path, root), 'utf8')}\`\`\`\n`
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(page, guides())
