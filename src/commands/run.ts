/** `mysql-iam-proxy --rds-endpoint HOST`: serves one endpoint until a signal ends it. */
import { readFile } from 'node:fs/promises'
import { formatHostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { createProxy } from '../index.ts'
import { createLogger } from '../log.ts'
import type { Settings } from '../options.ts'
import { checkPem } from '../trust.ts'

/** Resolves when the proxy has stopped. @throws ProxyError CONFIG_INVALID, LISTEN_FAILED */
export async function run(settings: Settings, stop: AbortSignal): Promise<void> {
  const rdsEndpoint = settings['rds-endpoint']
  if (!rdsEndpoint) throw new ProxyError('CONFIG_INVALID', '--rds-endpoint is missing')
  const log = createLogger(settings['log-level'], settings['log-format'])
  const proxy = createProxy({
    rdsEndpoint,
    connect: settings.connect,
    listen: settings.listen,
    user: settings.user,
    region: settings.region,
    profile: settings.profile,
    ca: await Promise.all(settings.ca.map(readCa)),
    caOnly: settings['ca-only'],
    tokenInHandshake: settings['token-in-handshake'],
    connectTimeout: settings['connect-timeout'],
    loginTimeout: settings['login-timeout'],
    keepalive: settings.keepalive,
    busyPoll: settings['busy-poll'],
    logger: log,
  })
  const { rds, dial } = proxy.endpoint
  const address = formatHostPort(await proxy.listen())
  log.info(
    { rds: formatHostPort(rds), dial: formatHostPort(dial), region: rds.region },
    `listening on ${address}; no password is asked for: every program on this machine that reaches it is in the database`,
  )
  if (!stop.aborted) await new Promise(resolve => stop.addEventListener('abort', resolve, { once: true }))
  log.info({}, 'stopping')
  await proxy.close()
}

async function readCa(file: string): Promise<string> {
  const pem = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ProxyError('CONFIG_INVALID', `--ca ${file}: ${systemCode(error)}`, { cause: error })
  })
  checkPem(pem, `--ca ${file}`)
  return pem
}
