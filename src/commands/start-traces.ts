/** Traces of logins, as OpenTelemetry's variables ask for. Their modules are loaded only then. */
import type { Endpoint } from '../endpoint.ts'
import type { Logger } from '../log.ts'
import type { LoginTracer } from '../state.ts'
import { packageVersion } from '../version.ts'

export interface Traces {
  tracerOf(endpoint: Endpoint): LoginTracer
  /** Sends what waits. */
  close(): Promise<void>
}

/** Resolves with undefined where no traces are asked for. */
export async function startTracesAsSet(environment: NodeJS.ProcessEnv, log: Logger): Promise<Traces | undefined> {
  if (!environment['OTEL_TRACES_EXPORTER']) return undefined
  const { createSpanExporter, readOtlpSettings } = await import('../otlp.ts')
  const settings = readOtlpSettings(environment, packageVersion())
  if (!settings) return undefined
  if ('problem' in settings) {
    log.warn({}, `traces are off: ${settings.problem}`)
    return undefined
  }
  const { createAwsAgent } = await import('../aws/https-agent.ts')
  const { createLoginTracer } = await import('../login-spans.ts')
  const agent = settings.url.protocol === 'https:' ? createAwsAgent({ environment }) : undefined
  const exporter = createSpanExporter(settings, log, agent)
  log.info({}, `traces of logins go to ${settings.url.origin}${settings.url.pathname}`)
  return {
    tracerOf: endpoint => createLoginTracer(endpoint, exporter, settings.ratio),
    async close() {
      await exporter.close()
      agent?.destroy()
    },
  }
}
