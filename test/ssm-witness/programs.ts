/** The witnesses, compiled: the Session Manager plugin, and the SSM agent's code for port sessions. */
import { execFile } from 'node:child_process'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const HERE = fileURLToPath(new URL('.', import.meta.url))
const FOLDER = join(tmpdir(), 'mysql-iam-proxy-ssm-witness')

/** The commit of https://github.com/aws/amazon-ssm-agent that is compiled, of 2024-10-21. */
const AGENT_COMMIT = '1c217c89b42de51d4f4063363d8ec1f2eef56055'
const AGENT_SOURCE = 'https://github.com/aws/amazon-ssm-agent'

const GIT_TIMEOUT_MS = 15 * 60_000

/** Thrown with the reason why a witness is not here. */
export class NotInstalled extends Error {}

export async function hasGo(): Promise<boolean> {
  return run('go', ['version']).then(
    () => true,
    () => false,
  )
}

/** The plugin, from the proxy of Go modules; go.mod has its version. @returns the path of the program */
export async function buildPlugin(): Promise<string> {
  await mkdir(FOLDER, { recursive: true })
  const program = join(FOLDER, 'session-manager-plugin')
  const source = 'github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main'
  await go(['build', '-o', program, source], HERE)
  return program
}

/**
 * The agent. It is no Go module that the proxy serves, so git fetches it; SSM_AGENT_SOURCE names a checkout or a repository
 * that is here already.
 * @returns the path of the program
 */
export async function buildAgent(): Promise<string> {
  const source = process.env['SSM_AGENT_SOURCE'] || AGENT_SOURCE
  const isCheckout = await exists(join(source, 'go.mod'))
  const checkout = isCheckout ? source : join(FOLDER, 'amazon-ssm-agent')
  if (!isCheckout && !(await exists(join(checkout, 'go.mod')))) await clone(source, checkout)
  const program = join(FOLDER, 'agent')
  // The program is compiled as if it were in the checkout, which stays as it is.
  const overlay = join(FOLDER, 'overlay.json')
  const replaced = { [join(checkout, 'agent', 'witness', 'main.go')]: join(HERE, 'agent', 'main.go') }
  await writeFile(overlay, JSON.stringify({ Replace: replaced }))
  await go(['build', '-mod=vendor', '-overlay', overlay, '-o', program, './agent/witness'], checkout)
  return program
}

async function clone(source: string, checkout: string): Promise<void> {
  await mkdir(checkout, { recursive: true })
  const git = (...args: string[]) => run('git', ['-C', checkout, ...args], { timeout: GIT_TIMEOUT_MS })
  try {
    await git('init', '--quiet')
    await git('fetch', '--quiet', '--depth=1', source, AGENT_COMMIT)
    await git('checkout', '--quiet', 'FETCH_HEAD')
  } catch (error) {
    throw new NotInstalled(`git cannot fetch ${source}: ${firstLine(error)}. SSM_AGENT_SOURCE may name a checkout.`)
  }
}

async function go(args: string[], folder: string): Promise<void> {
  await run('go', args, { cwd: folder, maxBuffer: 16 * 1024 * 1024 }).catch(error => {
    throw new NotInstalled(`go ${args[0]} failed: ${firstLine(error)}`)
  })
}

function firstLine(error: unknown): string {
  const { stderr = '', message } = error as Error & { stderr?: string }
  return (stderr || message).trim().split('\n')[0]!
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
