/** Prints the schema of the Helm chart's values, made from the schema of the configuration file: npm run docs */
import { configSchema } from '../src/config/schema.ts'

const text = { type: 'string' }
const flag = { type: 'boolean' }
const count = { type: 'integer', minimum: 0 }
const map = { type: 'object' }
const texts = { type: 'object', additionalProperties: text }
const objects = { type: 'array', items: map }

const closed = (properties: Record<string, object>): object => ({
  type: 'object',
  additionalProperties: false,
  properties,
})

/** The whole text of values.schema.json. Helm before 3.18 knows no newer draft than 7. */
export function chartSchema(): string {
  const { $schema: _, $defs, ...config } = configSchema() as { $schema: string; $defs: object }
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'The values of the chart mysql-iam-proxy',
    ...closed({
      image: closed({
        repository: text,
        tag: text,
        digest: { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      }),
      imagePullSecrets: objects,
      config: { $ref: '#/$defs/config' },
      secrets: closed({
        passwords: closed({ mount: flag, name: text }),
        tls: closed({ mount: flag, name: text }),
      }),
      certificate: closed({
        create: flag,
        issuerRef: texts,
        dnsNames: { type: 'array', items: text },
        duration: text,
        renewBefore: text,
      }),
      serviceAccount: closed({ create: flag, name: text, annotations: texts }),
      service: closed({ annotations: texts }),
      replicas: count,
      autoscaling: closed({ enabled: flag, minReplicas: count, maxReplicas: count, cpu: text }),
      podDisruptionBudget: closed({ enabled: flag, maxUnavailable: { type: ['integer', 'string'] } }),
      networkPolicy: closed({
        enabled: flag,
        clients: objects,
        monitoring: objects,
        dns: objects,
        databases: objects,
        databasePorts: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 65535 }, minItems: 1 },
        aws: objects,
        podIdentity: objects,
      }),
      resources: map,
      preStopSeconds: count,
      env: objects,
      podAnnotations: texts,
      podLabels: texts,
      nodeSelector: texts,
      tolerations: objects,
      affinity: map,
      priorityClassName: text,
      // Helm passes it to each chart.
      global: map,
    }),
    $defs: { ...$defs, config },
  }
  return `${JSON.stringify(schema, null, 1)}\n`
}

if (import.meta.filename === process.argv[1]) process.stdout.write(chartSchema())
