/** The inputs that are kept: corpus/WHAT/NAME.hex, hexadecimal with comments that say what they are. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const directory = fileURLToPath(new URL('corpus', import.meta.url))

export interface Entry {
  name: string
  input: Buffer
}

/** Of a parser, or of 'client' and 'server' for sessions; in the order of their names. */
export function readCorpus(what: string): Entry[] {
  return readdirSync(join(directory, what))
    .sort()
    .map(name => ({ name, input: fromHex(readFileSync(join(directory, what, name), 'utf8')) }))
}

/** `from` is the folder to write to, by default that of the corpus. */
export function keep(what: string, name: string, comment: string, input: Buffer, into = directory): void {
  mkdirSync(join(into, what), { recursive: true })
  writeFileSync(join(into, what, `${name}.hex`), `# ${comment}\n${toHex(input)}\n`)
}

function fromHex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/#.*/g, '').replaceAll(/\s/g, ''), 'hex')
}

function toHex(input: Buffer): string {
  return (input.toString('hex').match(/.{1,96}/g) ?? []).join('\n')
}
