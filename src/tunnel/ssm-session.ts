/** Sessions of AWS Systems Manager: the calls that start, resume and end them. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AwsErrorCodes, clientSettings, explainAwsError } from '../aws/api.ts'
import type { CredentialsProvider } from '../aws/credential-types.ts'
import { type AwsAgent, createAwsAgent } from '../aws/https-agent.ts'
import { withoutVersionNotice } from '../aws/version-notice.ts'
import { monotonicClock } from '../clock.ts'
import type { HostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { SsmTarget } from '../ssm-target.ts'

/** The document of AWS that forwards a port to another host than the target. */
export const SSM_DOCUMENT = 'AWS-StartPortForwardingSessionToRemoteHost'

/** The input of StartSession. @param localPort only for the plugin, which listens there */
export function startSessionInput({ id }: SsmTarget, to: HostPort, localPort?: number) {
  const Parameters: Record<string, string[]> = { host: [to.host], portNumber: [String(to.port)] }
  if (localPort !== undefined) Parameters['localPortNumber'] = [String(localPort)]
  return { Target: id, DocumentName: SSM_DOCUMENT, Parameters }
}

/** The same as a command of the AWS CLI, to try by hand. Both POSIX shells and PowerShell 7.3 or newer read it. */
export function awsCliCommand(target: SsmTarget, region: string, to: HostPort, localPort: number): string {
  const { Target, DocumentName, Parameters } = startSessionInput(target, to, localPort)
  const parameters = `--parameters '${JSON.stringify(Parameters)}'`
  return `aws ssm start-session --region ${region} --target ${Target} --document-name ${DocumentName} ${parameters}`
}

/** The end of the proxy waits for TerminateSession, but not for long: the service ends a session without connections by itself. */
export const TERMINATE_TIMEOUT_MS = 3_000

export interface SsmSession {
  id: string
  /** wss://… */
  streamUrl: string
  /** a secret that opens the data channel once */
  token: string
}

export interface SsmApi {
  readonly target: SsmTarget
  readonly region: string
  readonly credentials: CredentialsProvider
  /** @throws ProxyError SSM_…, AWS_…, CREDENTIALS_REJECTED */
  start(input: ReturnType<typeof startSessionInput>, stop: AbortSignal): Promise<SsmSession>
  /** A new token for a session whose connection was lost; undefined if the session has ended. @throws ProxyError */
  resume(session: SsmSession): Promise<SsmSession | undefined>
  /** Never rejects: the service ends a session without connections by itself. */
  terminate(session: SsmSession): Promise<void>
  /** the URL of the last call, as the AWS CLI gives it to the plugin */
  endpointUrl(): string
  /** Closes the connections to AWS. */
  close(): void
}

export interface SsmApiOptions {
  target: SsmTarget
  region: string
  credentials: CredentialsProvider
  agent?: AwsAgent
  /** milliseconds for TerminateSession */
  terminateTimeout?: number
}

const CODES: AwsErrorCodes = { denied: 'SSM_ACCESS_DENIED', notFound: 'AWS_NOT_FOUND', failed: 'AWS_UNREACHABLE' }

/** The SDK is loaded with the first call. */
export function createSsmApi(options: SsmApiOptions): SsmApi {
  const { target, region, credentials, agent = createAwsAgent(), terminateTimeout = TERMINATE_TIMEOUT_MS } = options
  let endpointUrl = ''
  const createClient = async () => {
    const sdk = await import('../aws/sdk-ssm.ts')
    const client = withoutVersionNotice(() => new sdk.SSMClient(clientSettings(region, credentials, agent)))
    client.middlewareStack.add(
      next => args => {
        const { protocol, hostname, port } = args.request as { protocol: string; hostname: string; port?: number }
        endpointUrl = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`
        return next(args)
      },
      { step: 'finalizeRequest', name: 'noteEndpoint', priority: 'low' },
    )
    return { sdk, client }
  }
  let loaded: ReturnType<typeof createClient> | undefined
  const load = () => {
    loaded ??= createClient()
    return loaded
  }
  const explain = (error: unknown, action: string): ProxyError => {
    if (error instanceof Error && error.name === 'TargetNotConnected') {
      const what = `Systems Manager has no connection to ${target.id} in ${region}`
      return new ProxyError('SSM_TARGET_NOT_CONNECTED', what, { cause: error })
    }
    return agent.problem ?? explainAwsError(error, action, CODES)
  }
  return {
    target,
    region,
    credentials,
    async start(input, stop) {
      const { sdk, client } = await load()
      const command = new sdk.StartSessionCommand(input)
      const found = await client.send(command, { abortSignal: stop }).catch(error => {
        stop.throwIfAborted()
        throw explain(error, 'ssm:StartSession')
      })
      return sessionOf(found, 'ssm:StartSession')
    },
    async resume({ id }) {
      const { sdk, client } = await load()
      const found = await client.send(new sdk.ResumeSessionCommand({ SessionId: id })).catch(error => {
        if (error instanceof Error && error.name === 'DoesNotExistException') return undefined
        throw explain(error, 'ssm:ResumeSession')
      })
      // The service sends no token for a session that has ended.
      return found?.TokenValue ? sessionOf({ ...found, SessionId: id }, 'ssm:ResumeSession') : undefined
    },
    async terminate({ id }) {
      const late = new AbortController()
      const isLate = once(late.signal, 'abort')
      const cancelTimer = monotonicClock.after(terminateTimeout, () => late.abort())
      const end = async () => {
        const { sdk, client } = await load()
        await client.send(new sdk.TerminateSessionCommand({ SessionId: id }), { abortSignal: late.signal })
      }
      // The credentials may hang as well, and the signal does not reach them.
      await Promise.race([end().catch(() => {}), isLate])
      cancelTimer()
    },
    endpointUrl: () => endpointUrl,
    close: () => agent.destroy(),
  }
}

type Answer = { SessionId?: string | undefined; StreamUrl?: string | undefined; TokenValue?: string | undefined }

function sessionOf({ SessionId, StreamUrl, TokenValue }: Answer, action: string): SsmSession {
  if (SessionId && TokenValue && StreamUrl && URL.canParse(StreamUrl) && /^wss:/i.test(StreamUrl)) {
    return { id: SessionId, streamUrl: StreamUrl, token: TokenValue }
  }
  const what = `${action} failed: the answer is not from AWS; a proxy or a login page may have sent it`
  throw new ProxyError('AWS_UNREACHABLE', what, { hintValues: { action } })
}

/** An id for a client or a request. */
export const newId = (): string => randomUUID()
