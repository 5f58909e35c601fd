/** The status page: one document, built from the files in page/. */
import { createHash } from 'node:crypto'
import { readPackageFile } from '../package-files.ts'

export interface Page {
  html: string
  /** allows the page's own style and scripts, by their hashes, and nothing else */
  contentSecurityPolicy: string
}

export function loadPage(): Page {
  const styles: string[] = []
  const scripts: string[] = []
  const inline = (name: string, hashes: string[]) => {
    const text = read(name)
    hashes.push(`'sha256-${createHash('sha256').update(text).digest('base64')}'`)
    return text
  }
  const html = read('page.html')
    .replace(/<link rel="stylesheet" href="(.+)">/g, (_link, name) => `<style>${inline(name, styles)}</style>`)
    .replace(/<script src="(.+)"><\/script>/g, (_script, name) => `<script>${inline(name, scripts)}</script>`)
  const policy = {
    'default-src': "'none'",
    'style-src': styles.join(' '),
    'script-src': scripts.join(' '),
    'connect-src': "'self'",
    'img-src': 'data:', // the icon
    'base-uri': "'none'",
    'form-action': "'none'",
    'frame-ancestors': "'none'",
  }
  const contentSecurityPolicy = Object.entries(policy)
    .map(entry => entry.join(' '))
    .join('; ')
  return { html, contentSecurityPolicy }
}

function read(name: string): string {
  return readPackageFile(`src/admin/page/${name}`)
}
