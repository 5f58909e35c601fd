/** The browser of the person at this machine. */
import { spawn } from 'node:child_process'
import { release } from 'node:os'

/** Whether a browser can be opened here, for the person who sees this terminal. */
export function hasBrowser(
  environment: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
  kernel: string = release(),
): boolean {
  // The person sits at another machine.
  if (environment['SSH_CONNECTION'] || environment['SSH_TTY'] || environment['SSH_CLIENT']) return false
  if (platform === 'darwin' || platform === 'win32') return true
  // The Linux of Windows: its programs that open a browser differ from installation to installation.
  if (/microsoft/i.test(kernel)) return false
  return Boolean(environment['DISPLAY'] || environment['WAYLAND_DISPLAY'])
}

/** The program that opens an address, and its arguments; no shell sees the address. */
export function openerFor(
  url: string,
  platform: NodeJS.Platform = process.platform,
): [program: string, args: string[]] {
  if (platform === 'darwin') return ['open', [url]]
  if (platform === 'win32') return ['rundll32', ['url.dll,FileProtocolHandler', url]]
  return ['xdg-open', [url]]
}

/** Opens an address. If no browser opens, nothing fails: the address is shown anyway. */
export function openBrowser(url: string, environment: NodeJS.ProcessEnv = process.env): void {
  // The answer of a server must not start another program.
  if (!/^https?:\/\//i.test(url)) return
  const [program, args] = openerFor(url)
  const child = spawn(program, args, { env: environment, stdio: 'ignore', detached: true })
  child.on('error', () => {})
  child.unref()
}
