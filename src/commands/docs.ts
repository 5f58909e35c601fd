/** `mysql-iam-proxy docs [PAGE]`: the documents of this version, also where the program is a single file. */
import { ProxyError } from '../errors.ts'
import { listPackageFiles, readPackageFile } from '../package-files.ts'
import { nearest } from '../text.ts'

/** What a person calls files outside of docs/. The last is only in single executables. */
const OTHERS: Readonly<Record<string, string>> = {
  readme: 'README.md',
  changelog: 'CHANGELOG.md',
  license: 'LICENSE',
  notices: 'THIRD-PARTY-NOTICES',
}

/**
 * The page as Markdown, or the list of pages.
 * @param page as the list has it, or as other texts name it: `docs/clients/dbeaver.md#ssl`
 * @throws ProxyError CONFIG_INVALID for an unknown page, with the nearest known one
 */
export function docs(page: string | undefined): string {
  const pages = pagesOfPackage()
  if (page === undefined) return list(pages)
  const name = page
    .replace(/#.*/, '')
    .replace(/^docs\//, '')
    .replace(/\.md$/, '')
    .toLowerCase()
  const file = pages.get(name)
  if (file !== undefined) return readPackageFile(file)
  const meant = nearest(name, [...pages.keys()])
  const suggestion = meant ? `; did you mean ${meant}?` : ''
  throw new ProxyError('CONFIG_INVALID', `there is no page ${page.slice(0, 60)}${suggestion}`)
}

/** Names in the order of the list, and their files. */
function pagesOfPackage(): Map<string, string> {
  const files = new Set(listPackageFiles())
  const pages = [...files].flatMap(file => {
    const [, name] = /^docs\/((?:clients\/)?[^/]+)\.md$/.exec(file) ?? []
    return name ? [[name.toLowerCase(), file] as const] : []
  })
  const others = Object.entries(OTHERS).filter(([, file]) => files.has(file))
  return new Map([...others, ...pages.sort(([a], [b]) => (a < b ? -1 : 1))])
}

function list(pages: ReadonlyMap<string, string>): string {
  const width = Math.max(...[...pages.keys()].map(name => name.length))
  const rows = [...pages].map(([name, file]) => {
    const [, title = file] = /^# (.+)$/m.exec(readPackageFile(file)) ?? []
    return `${name.padEnd(width)}  ${title}`.trimEnd()
  })
  return `${rows.join('\n')}\n\nRun mysql-iam-proxy docs PAGE to read one, for example: docs configuration | less\n`
}
