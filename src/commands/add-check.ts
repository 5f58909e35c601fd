/** The login that `add` tries before it writes: the steps of `check`, shown only if one fails. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { check } from '../check/check.ts'
import { terminalReporter } from '../check/report.ts'
import type { Reporter } from '../check/steps.ts'
import { type Config, loadConfig } from '../config/load.ts'
import { toProxyOptions } from '../config/proxy-options.ts'
import { apiRegion, createEndpoint } from '../endpoint.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { silent } from '../log.ts'
import type { ProxyOptions } from '../proxy/options.ts'
import { isLive, wantsColours, wrap } from '../text.ts'
import type { MfaCredentials } from './mfa-codes.ts'

const WIDTH = 80

/** The configuration of `text`, read as a proxy will read it from `path`. @throws ProxyError CONFIG_INVALID */
export async function configOf(text: string, path: string): Promise<Config> {
  const folder = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-'))
  const file = join(folder, 'config.yaml')
  try {
    await writeFile(file, text, { mode: 0o600 })
    return await loadConfig({ config: file }, [], {})
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error
    throw new ProxyError(error.code, error.message.replaceAll(file, path), { cause: error })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Resolves with the exit code of the check: 0 if a login through the whole path and a query succeeded. */
export async function tryLogin(
  config: Config,
  name: string,
  output: NodeJS.WriteStream,
  { mfa, stop }: { mfa: MfaCredentials | undefined; stop: AbortSignal },
): Promise<number> {
  const endpoint = config.endpoints.find(each => each.name === name)!
  const readWanted = async () => ({
    proxy: await withMfa(await toProxyOptions(endpoint, silent), mfa),
    user: endpoint.settings.user,
    database: undefined,
    aws: false,
  })
  const { exitCode } = await check(readWanted, briefReporter(name, output), stop)
  return exitCode
}

/** The options with the credentials of the list, whose code must not be asked for again. */
async function withMfa(options: ProxyOptions, mfa: MfaCredentials | undefined): Promise<ProxyOptions> {
  if (!mfa || options.rolesAnywhere) return options
  const credentials = await mfa(options.profile, apiRegion(createEndpoint(options).rds))
  if (!credentials) return options
  // Not in the middle of the steps, and once: an error is that of a step.
  const failure = await credentials().then(() => undefined, asProxyError)
  return { ...options, credentials: failure ? () => Promise.reject(failure) : credentials }
}

function briefReporter(name: string, output: NodeJS.WriteStream): Reporter {
  const colours = wantsColours(output.isTTY)
  const live = isLive(output.isTTY)
  const write = (text: string) => void output.write(text)
  const width = Math.min(output.columns ?? WIDTH, WIDTH)
  const whole = terminalReporter({ write, width, isLive: false, colours })
  const clear = () => {
    if (live) write('\r\x1b[K')
  }
  const progress = (text: string) => {
    if (!live) return
    clear()
    write(`… ${name}: ${text}`.slice(0, width - 1))
  }
  return {
    begin: progress,
    progress: (step, text) => progress(`${step}: ${text}`),
    end() {},
    finish(result) {
      clear()
      if (result.failed) {
        write(`✗ ${name}: the login failed.\n`)
        whole.finish(result)
        return
      }
      write(`✓ ${name}: a login and a query succeeded.\n`)
      for (const { message, code, hint } of result.steps.flatMap(({ warnings }) => warnings)) {
        write(`  ! ${message.replace(/\p{Cc}+/gu, ' ')} (${code})\n`)
        for (const line of wrap(hint, width - 4)) write(`    ${line}\n`)
      }
    },
  }
}
