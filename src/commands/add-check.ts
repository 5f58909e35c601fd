/** The login that `add` tries before it writes: the steps of `check`, shown only if one fails. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { check } from '../check/check.ts'
import { terminalReporter } from '../check/report.ts'
import type { Reporter } from '../check/steps.ts'
import { type Config, loadConfig } from '../config/load.ts'
import { toProxyOptions } from '../config/proxy-options.ts'
import { ProxyError } from '../errors.ts'
import { silent } from '../log.ts'
import { wrap } from '../text.ts'

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
  stop: AbortSignal,
): Promise<number> {
  const endpoint = config.endpoints.find(each => each.name === name)!
  const readWanted = async () => ({
    proxy: await toProxyOptions(endpoint, silent),
    user: endpoint.settings.user,
    database: undefined,
    aws: false,
  })
  const { exitCode } = await check(readWanted, briefReporter(name, output), stop)
  return exitCode
}

function briefReporter(name: string, output: NodeJS.WriteStream): Reporter {
  const colours = output.isTTY && !process.env.NO_COLOR
  const write = (text: string) => void output.write(text)
  const width = Math.min(output.columns ?? WIDTH, WIDTH)
  const whole = terminalReporter({ write, width, isLive: false, colours })
  const clear = () => {
    if (output.isTTY) write('\r\x1b[K')
  }
  const progress = (text: string) => {
    if (!output.isTTY) return
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
