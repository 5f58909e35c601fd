/** What is inside an executable, as a CycloneDX document: https://cyclonedx.org/docs/1.5/json/ */
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeBundle } from './bundle.ts'
import type { Context } from './context.ts'
import { TARGETS } from './executables.ts'
import { NAME, ROOT, sourceDate } from './project.ts'
import { runTool } from './tool.ts'

interface Component {
  'bom-ref': string
  name: string
  version: string
  purl: string
  licenses?: { license: { id: string } }[]
}

interface Sbom {
  serialNumber?: string
  metadata: { timestamp: string; component: Component & { type: string }; [field: string]: unknown }
  components: Component[]
  dependencies: { ref: string; dependsOn: string[] }[]
}

export async function makeSbom({ version, release, temporary }: Context): Promise<string[]> {
  // With --omit dev, npm also leaves out what both kinds of packages need.
  const sbom: Sbom = JSON.parse(await runTool(['npm', '--prefix', ROOT, 'sbom', '--sbom-format', 'cyclonedx'], 'npm'))
  const bundle = await makeBundle(join(temporary, 'sbom-bundle'))
  const used = await usedPackages(bundle.packages)
  sbom.components = sbom.components.filter(({ name, version }) => used.has(`${name}@${version}`))
  const refs = new Set([sbom.metadata.component, ...sbom.components].map(component => component['bom-ref']))
  sbom.dependencies = sbom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(name => refs.has(name)) }))
  for (const nameAndVersion of used)
    if (!sbom.components.some(({ name, version }) => `${name}@${version}` === nameAndVersion))
      throw new Error(`The executables contain ${nameAndVersion}, but npm sbom does not name it`)
  Object.assign(sbom.metadata.component, { name: NAME, type: 'application' })
  for (const node of new Set(TARGETS.map(target => target.node))) {
    const purl = `pkg:github/nodejs/node@v${node}`
    const component = { 'bom-ref': purl, type: 'platform', name: 'node', version: node, purl }
    const targets = TARGETS.filter(target => target.node === node).map(target => target.name)
    sbom.components.push({
      ...component,
      ...{
        description: `Node.js in the executables for ${targets.join(', ')}`,
        licenses: [{ license: { id: 'MIT' } }],
      },
    })
    sbom.dependencies.push({ ref: purl, dependsOn: [] })
    sbom.dependencies.find(({ ref }) => ref === sbom.metadata.component['bom-ref'])?.dependsOn.push(purl)
  }
  const unlicensed = sbom.components.find(({ licenses }) => !licenses?.length)
  if (unlicensed) throw new Error(`${unlicensed.name}@${unlicensed.version} names no license`)
  // The same commit gives the same document.
  sbom.metadata.timestamp = sourceDate().toISOString()
  delete sbom.serialNumber
  sbom.serialNumber = `urn:uuid:${uuidOf(JSON.stringify(sbom))}`
  const file = `${NAME}-${version}.cdx.json`
  await writeFile(join(release, file), `${JSON.stringify(sbom, null, 2)}\n`)
  return [file]
}

/** `name@version` of each package that is in the executables, or that npm installs with the npm package. */
async function usedPackages(bundled: readonly string[]): Promise<Set<string>> {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'))
  const packages = Object.entries<{ version: string; dev?: boolean; devOptional?: boolean }>(lock.packages)
  return new Set(
    packages
      .filter(([path, { dev, devOptional }]) => path !== '' && ((!dev && !devOptional) || bundled.includes(path)))
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`),
  )
}

/** A UUID of version 8, from a hash of `text`: https://www.rfc-editor.org/rfc/rfc9562#section-5.8 */
export function uuidOf(text: string): string {
  const hash = createHash('sha256').update(text).digest()
  hash[6] = (hash[6]! & 0x0f) | 0x80
  hash[8] = (hash[8]! & 0x3f) | 0x80
  return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
