/**
 * moto, an emulator of AWS APIs that this project did not write: https://docs.getmoto.org/en/latest/docs/server_mode.html
 * It is installed from PyPI into node_modules/.cache. In front of it stands a server that counts calls, gives the load
 * balancer a name that this machine resolves, and can fail as a network does.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from '../support/free-port.ts'

const run = promisify(execFile)

const PACKAGES = ['moto==5.2.5', 'flask==3.1.3', 'flask-cors==6.0.5']
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/aws-witness', import.meta.url))

/** Why moto is not installed, in words for the last line. */
export class NotInstalled extends Error {}

/** The Python of a virtual environment with moto. @throws NotInstalled */
export async function installMoto(): Promise<string> {
  const home = join(CACHE, PACKAGES.join('-').replaceAll('==', '-'))
  const python = join(home, 'bin', 'python')
  if (await stat(join(home, 'complete')).catch(() => undefined)) return python
  await rm(home, { recursive: true, force: true })
  await mkdir(CACHE, { recursive: true })
  await run('python3', ['-m', 'venv', home]).catch(error => {
    throw new NotInstalled(`python3 with venv is missing (Debian: apt-get install python3-venv): ${lastLine(error)}`)
  })
  const arguments_ = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '1', ...PACKAGES]
  await run(python, arguments_, { maxBuffer: 64 << 20 }).catch(error => {
    throw new NotInstalled(`PyPI unreachable: ${lastLine(error)}`)
  })
  await mkdir(join(home, 'new'))
  await rename(join(home, 'new'), join(home, 'complete'))
  return python
}

function lastLine(error: { stderr?: string; message: string }): string {
  return (error.stderr || error.message).trim().split('\n').at(-1) ?? ''
}

export interface Front {
  /** for AWS_ENDPOINT_URL */
  url: string
  /** the actions of the calls so far, oldest first */
  calls: string[]
  /** the host of an RDS endpoint that this machine resolves, instead of the one that moto makes up */
  localHost: string | undefined
  /** answers a call instead of moto; undefined: moto answers */
  instead: ((action: string, response: ServerResponse) => boolean) | undefined
}

export interface Moto {
  front: Front
  stop(): Promise<void>
}

/** Starts moto and the server in front of it. */
export async function startMoto(python: string): Promise<Moto> {
  const port = await freePort()
  const moto = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const inner = `http://127.0.0.1:${port}`
  await untilListening(moto)
  const front: Front = { url: '', calls: [], localHost: undefined, instead: undefined }
  const server = createServer((request, response) => {
    void forward(request, response, inner, front).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  front.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    front,
    async stop() {
      server.close()
      server.closeAllConnections()
      if (moto.exitCode === null) {
        moto.kill()
        await once(moto, 'exit')
      }
    },
  }
}

/** @throws Error with what moto wrote, if it ends */
async function untilListening(moto: ChildProcess): Promise<void> {
  let text = ''
  await new Promise<void>((resolve, reject) => {
    moto.stderr!.on('data', data => {
      text += data
      if (/Running on http/.test(text)) resolve()
    })
    moto.once('error', reject)
    moto.once('exit', () => reject(new Error(`moto has stopped: ${text}`)))
  })
}

async function forward(request: IncomingMessage, response: ServerResponse, inner: string, front: Front): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  const action = new URLSearchParams(body.toString()).get('Action') ?? ''
  front.calls.push(action)
  if (front.instead?.(action, response)) return
  const headers = Object.fromEntries(
    ['authorization', 'content-type', 'x-amz-date', 'x-amz-security-token'].flatMap(name => {
      const value = request.headers[name]
      return typeof value === 'string' ? [[name, value]] : []
    }),
  )
  const answer = await fetch(`${inner}${request.url}`, { method: 'POST', headers, body })
  const text = await answer.text()
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/xml' })
  const named = text.replace(/<DNSName>[^<]*<\/DNSName>/g, '<DNSName>localhost</DNSName>')
  response.end(front.localHost === undefined ? named : named.replaceAll(front.localHost, 'localhost'))
}
