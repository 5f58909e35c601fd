/** What is inside the files of the npm package, as a CycloneDX document: https://cyclonedx.org/docs/1.5/json/ */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NAME, ROOT, sourceDate } from './project.ts'
import { uuidOf } from './sbom.ts'

/** The document for bundled packages. What npm installs beside them is not in it, because npm chooses the versions. */
export async function sbomOf(packages: readonly string[]): Promise<string> {
  const { version, license } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const components = await Promise.all(packages.map(componentOf))
  const document = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    // The same commit gives the same document.
    metadata: {
      timestamp: sourceDate().toISOString(),
      component: { ...identity(NAME, version), type: 'application', licenses: licensesOf(license) },
    },
    components,
  }
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(document))}`
  return `${JSON.stringify({ ...document, serialNumber }, null, 2)}\n`
}

async function componentOf(path: string) {
  const { name, version, license } = JSON.parse(await readFile(join(ROOT, path, 'package.json'), 'utf8'))
  if (typeof license !== 'string') throw new Error(`${name}@${version} names no license`)
  return { ...identity(name, version), type: 'library', licenses: licensesOf(license) }
}

/** https://github.com/package-url/purl-spec/blob/main/types-doc/npm-definition.md */
function identity(name: string, version: string) {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  return { 'bom-ref': purl, name, version, purl }
}

function licensesOf(license: string) {
  return /[ (]/.test(license) ? [{ expression: license }] : [{ license: { id: license } }]
}
