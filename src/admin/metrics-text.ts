/**
 * The metrics of one endpoint in the text format of Prometheus, for the library. Names, help and labels are those of metrics.ts,
 * which test/library-metrics.test.ts compares. This needs no package, and has nothing about the process: a host has that itself.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { ERRORS } from '../error-codes.ts'
import { countOpen, type EndpointState, TUNNEL_WORDS, traffic } from '../state.ts'

type Labels = Readonly<Record<string, string>>

/** A value with its labels besides `endpoint`; without a value, the sample is absent. */
type Sample = readonly [value: number | undefined, labels?: Labels]

export function metricsText(state: EndpointState): string {
  const open = countOpen(state)
  const { bytesFromClient, bytesFromServer } = traffic(state)
  const outcomes = new Map([['OK' as const, 0], ...state.outcomes])
  const seconds = (time: number | undefined) => (time === undefined ? undefined : time / 1_000)
  const { tunnel } = state
  const families: [name: string, type: 'gauge' | 'counter', help: string, samples: Sample[]][] = [
    ['sessions', 'gauge', 'Clients that are logged in.', [[open]]],
    [
      'logins_in_progress',
      'gauge',
      'Clients that are connected but not logged in yet.',
      [[state.sessions.size - open]],
    ],
    [
      'max_connections',
      'gauge',
      'Maximum number of simultaneous connections; 0 means no limit.',
      [[state.maxConnections]],
    ],
    ['logins_queued', 'gauge', 'Logins that wait in the queue.', [[state.loginsQueued]]],
    [
      'credentials_ok',
      'gauge',
      '1 if the last request for AWS credentials succeeded, else 0.',
      [[state.credentialsFailed ? 0 : 1]],
    ],
    [
      'credentials_expiry_timestamp_seconds',
      'gauge',
      'When the AWS credentials expire; absent if unknown or never.',
      [[seconds(state.credentialsExpire)]],
    ],
    [
      'certificate_expiry_timestamp_seconds',
      'gauge',
      'When a certificate expires: of the database at the last login (server), for clients (local), or for IAM Roles Anywhere (roles_anywhere).',
      [
        [seconds(state.certificateExpires), { certificate: 'server' }],
        [seconds(state.localCertificateExpires()), { certificate: 'local' }],
        [seconds(state.rolesAnywhereCertificateExpires), { certificate: 'roles_anywhere' }],
      ],
    ],
    [
      'tunnel_state',
      'gauge',
      'The state of the tunnel to the database: 1 for the present one of idle, starting, open and failed, else 0; absent without a tunnel.',
      TUNNEL_WORDS.map(word => [tunnel && (tunnel.word === word ? 1 : 0), { state: word }]),
    ],
    [
      'logins_total',
      'counter',
      'Logins by result: OK or an error code, and the source of the error (none for OK).',
      [...outcomes].map(([code, times]) => [times, { code, source: code === 'OK' ? 'none' : ERRORS[code].source }]),
    ],
    [
      'bytes_total',
      'counter',
      'Bytes relayed after login.',
      [
        [bytesFromClient, { direction: 'from_client' }],
        [bytesFromServer, { direction: 'from_server' }],
      ],
    ],
    [
      'tunnel_restarts_total',
      'counter',
      'Starts of the tunnel after it failed or ended by itself.',
      [[tunnel?.restarts]],
    ],
  ]
  return families.map(([name, type, help, samples]) => familyText(name, type, help, samples, state.name)).join('')
}

function familyText(name: string, type: string, help: string, samples: Sample[], endpoint: string): string {
  const full = `mysql_iam_proxy_${name}`
  const lines = samples
    .filter(([value]) => value !== undefined)
    .map(([value, labels]) => `${full}{${labelsText({ endpoint, ...labels })}} ${value}\n`)
  return lines.length === 0 ? '' : `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`
}

function labelsText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, mark => (mark === '\n' ? '\\n' : `\\${mark}`))}"`)
    .join(',')
}
