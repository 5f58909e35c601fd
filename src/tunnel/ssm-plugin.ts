/**
 * A tunnel through Session Manager by AWS's own plugin, which the proxy starts as the AWS CLI does.
 * https://github.com/aws/aws-cli/blob/v2/awscli/customizations/sessionmanager.py
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Clock, monotonicClock } from '../clock.ts'
import type { HostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { openProgram } from './command.ts'
import { freeAddress } from './local-port.ts'
import { isOlder } from './ssm-channel.ts'
import { type SsmApi, startSessionInput } from './ssm-session.ts'
import type { OpenTunnel } from './tunnel.ts'

export const SSM_PLUGIN = 'session-manager-plugin'

/** Older ones get the session's token as an argument, which other users of this machine can read. */
export const MIN_PLUGIN_VERSION = '1.2.498.0'

/** The variable whose name the plugin takes instead of the answer of StartSession. */
const RESPONSE = 'AWS_SSM_START_SESSION_RESPONSE'

const VERSION_TIMEOUT_MS = 5_000

/** The version of the plugin that is installed; undefined: there is none, or it does not say its version. */
export async function installedPlugin(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(SSM_PLUGIN, ['--version'], {
      timeout: VERSION_TIMEOUT_MS,
      windowsHide: true,
    })
    const version = stdout.trim()
    return /^\d+(?:\.\d+){1,3}$/.test(version) ? version : undefined
  } catch {
    return undefined
  }
}

/** Whether the proxy uses a plugin of this version. */
export function isUsable(version: string | undefined): boolean {
  return version !== undefined && !isOlder(version, MIN_PLUGIN_VERSION)
}

/** Starts a session to `to`, and the plugin for it. @throws ProxyError SSM_…, AWS_…, TUNNEL_… */
export async function openPluginTunnel(
  to: HostPort,
  stop: AbortSignal,
  api: SsmApi,
  log: Logger,
  clock: Clock = monotonicClock,
): Promise<OpenTunnel> {
  const address = await freeAddress()
  const input = startSessionInput(api.target, to, address.port)
  const session = await api.start(input, stop)
  const { accessKeyId, secretAccessKey, sessionToken = '' } = await api.credentials()
  const response = { SessionId: session.id, TokenValue: session.token, StreamUrl: session.streamUrl }
  // Region, operation, profile, parameters, endpoint. The profile is empty: the plugin gets the proxy's own credentials.
  const words = [SSM_PLUGIN, RESPONSE, api.region, 'StartSession', '', JSON.stringify(input), api.endpointUrl()]
  const environment = {
    [RESPONSE]: JSON.stringify(response),
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  }
  try {
    const tunnel = await openProgram({ name: SSM_PLUGIN, words, address, environment }, stop, log, clock)
    return {
      ...tunnel,
      async close() {
        await tunnel.close()
        await api.terminate(session)
      },
    }
  } catch (error) {
    await api.terminate(session)
    throw withHint(error)
  }
}

/** With a hint that fits: the usual one is about the command of the option tunnel. */
function withHint(error: unknown): unknown {
  if (!(error instanceof ProxyError) || !error.code.startsWith('TUNNEL_')) return error
  const hint = 'Run mysql-iam-proxy check. It shows the same session as a command of the AWS CLI, to try by hand.'
  return new ProxyError(error.code, error.message, { hint, cause: error.cause })
}
