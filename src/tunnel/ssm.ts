/** The tunnel of the option ssm-target: Session Manager's port forwarding to a remote host, by the plugin or without it. */
import type { CredentialsProvider } from '../aws/credential-types.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { readSsmTarget } from '../ssm-target.ts'
import { openNativeTunnel } from './ssm-native.ts'
import { installedPlugin, isUsable, openPluginTunnel } from './ssm-plugin.ts'
import { awsCliCommand, createSsmApi } from './ssm-session.ts'
import type { OpenTunnel, TunnelTransport } from './tunnel.ts'

/** In commands to copy: any free port. */
const SHOWN_PORT = 13306

export interface SsmTransportOptions {
  /** the value of ssm-target, valid */
  target: string
  /** of the target, which is that of the database */
  region: string
  profile: string | undefined
  credentials: CredentialsProvider
  log: Logger
  clock?: Clock
  /** the version of the plugin */
  findPlugin?: () => Promise<string | undefined>
}

export function createSsmTransport(options: SsmTransportOptions): TunnelTransport {
  const { region, profile, credentials, log, clock = monotonicClock, findPlugin = installedPlugin } = options
  const target = readSsmTarget(options.target)!
  return {
    name: `Session Manager through ${target.id}`,
    command: to => awsCliCommand(target, region, to, SHOWN_PORT),
    async open(to, stop) {
      // Each tunnel has its own connections to AWS: after a change of the network, old ones may be dead.
      const agent = createAwsAgent({ profile })
      const api = createSsmApi({ target, region, credentials, agent })
      let tunnel: OpenTunnel
      try {
        // AWS's own program comes first: it follows changes of the service that this client does not know.
        tunnel = isUsable(await findPlugin())
          ? await openPluginTunnel(to, stop, api, log, clock)
          : await openNativeTunnel(to, stop, { api, agent, log, clock })
      } catch (error) {
        api.close()
        throw error
      }
      void tunnel.ended.then(error => error && api.close())
      let closing: Promise<void> | undefined
      return {
        ...tunnel,
        // The proxy stops when this resolves: the session must have ended at Session Manager too.
        ended: tunnel.ended.then(async error => {
          await closing
          return error
        }),
        async close() {
          closing ??= tunnel.close().then(() => api.close())
          await closing
        },
      }
    },
  }
}
