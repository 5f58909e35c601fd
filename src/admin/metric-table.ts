/**
 * The metrics of an endpoint, for the admin listener (metrics.ts) and the library (metrics-text.ts). Their number is bounded:
 * users, addresses and messages are never labels.
 */
import { ERRORS } from '../error-codes.ts'
import { countOpen, type EndpointState, PHASES, type Phase, SYNC_OUTCOMES, TUNNEL_WORDS, traffic } from '../state.ts'

export type Labels = Readonly<Record<string, string>>

/** A value with its labels besides `endpoint`; without a value, the sample is absent. */
export type Sample = readonly [value: number | undefined, labels?: Labels]

export interface Metric {
  /** without the prefix */
  name: string
  type: 'gauge' | 'counter'
  help: string
  /** besides `endpoint` */
  labels?: readonly string[]
  /** of a gauge: whether an endpoint that a reload has removed or replaced is added */
  ofRetired?: true
  samples(state: EndpointState): readonly Sample[]
}

export const PREFIX = 'mysql_iam_proxy_'

const seconds = (time: number | undefined) => (time === undefined ? undefined : time / 1_000)

export const METRICS: readonly Metric[] = [
  {
    name: 'sessions',
    type: 'gauge',
    help: 'Clients that are logged in.',
    ofRetired: true,
    samples: state => [[countOpen(state)]],
  },
  {
    name: 'logins_in_progress',
    type: 'gauge',
    help: 'Clients that are connected but not logged in yet.',
    ofRetired: true,
    samples: state => [[state.sessions.size - countOpen(state)]],
  },
  {
    name: 'max_connections',
    type: 'gauge',
    help: 'Maximum number of simultaneous connections; 0 means no limit.',
    samples: state => [[state.maxConnections]],
  },
  {
    name: 'logins_queued',
    type: 'gauge',
    help: 'Logins that wait in the queue.',
    ofRetired: true,
    samples: state => [[state.loginsQueued]],
  },
  {
    name: 'credentials_ok',
    type: 'gauge',
    help: '1 if the last request for AWS credentials succeeded, else 0.',
    samples: state => [[state.credentialsFailed ? 0 : 1]],
  },
  {
    name: 'credentials_expiry_timestamp_seconds',
    type: 'gauge',
    help: 'When the AWS credentials expire; absent if unknown or never.',
    samples: state => [[seconds(state.credentialsExpire)]],
  },
  {
    name: 'certificate_expiry_timestamp_seconds',
    type: 'gauge',
    help: 'When a certificate expires: of the database at the last login (server), for clients (local), or for IAM Roles Anywhere (roles_anywhere).',
    labels: ['certificate'],
    samples: state => [
      [seconds(state.certificateExpires), { certificate: 'server' }],
      [seconds(state.localCertificateExpires()), { certificate: 'local' }],
      [seconds(state.rolesAnywhereCertificateExpires), { certificate: 'roles_anywhere' }],
    ],
  },
  {
    name: 'tunnel_state',
    type: 'gauge',
    help: 'The state of the tunnel to the database: 1 for the present one of idle, starting, open and failed, else 0; absent without a tunnel.',
    labels: ['state'],
    samples: ({ tunnel }) => TUNNEL_WORDS.map(word => [tunnel && (tunnel.word === word ? 1 : 0), { state: word }]),
  },
  {
    name: 'logins_total',
    type: 'counter',
    help: 'Logins by result: OK or an error code, and the source of the error (none for OK).',
    labels: ['code', 'source'],
    samples: ({ outcomes }) =>
      [...new Map([['OK' as const, 0], ...outcomes])].map(([code, times]) => [
        times,
        { code, source: code === 'OK' ? 'none' : ERRORS[code].source },
      ]),
  },
  {
    name: 'bytes_total',
    type: 'counter',
    help: 'Bytes relayed after login.',
    labels: ['direction'],
    samples: state => {
      const { bytesFromClient, bytesFromServer } = traffic(state)
      return inBothDirections(bytesFromClient, bytesFromServer)
    },
  },
  {
    name: 'line_bytes_total',
    type: 'counter',
    help: 'The same bytes as they travelled between the proxy and the database. Compression makes them fewer.',
    labels: ['direction'],
    samples: state => {
      const { lineBytesFromClient, lineBytesFromServer } = traffic(state)
      return inBothDirections(lineBytesFromClient, lineBytesFromServer)
    },
  },
  {
    name: 'tunnel_restarts_total',
    type: 'counter',
    help: 'Starts of the tunnel after it failed or ended by itself.',
    samples: ({ tunnel }) => [[tunnel?.restarts]],
  },
  {
    name: 'sync_passes_total',
    type: 'counter',
    help: 'Runs of sync-targets by outcome: unchanged, changed, unhealthy, refused or failed.',
    labels: ['outcome'],
    samples: ({ sync }) => SYNC_OUTCOMES.map(outcome => [sync?.counts[outcome], { outcome }]),
  },
  {
    name: 'sync_last_pass_timestamp_seconds',
    type: 'gauge',
    help: 'When sync-targets ran last.',
    samples: ({ sync }) => [[seconds(sync?.at)]],
  },
]

function inBothDirections(fromClient: number, fromServer: number): Sample[] {
  return [
    [fromClient, { direction: 'from_client' }],
    [fromServer, { direction: 'from_server' }],
  ]
}

/** How long logins take. Each has the label `endpoint` too. */
export const HISTOGRAMS = {
  phases: {
    name: 'login_phase_duration_seconds',
    help: 'Duration of each phase of a login.',
    labels: ['phase'],
    all: PHASES.map((phase): Labels => ({ phase })),
  },
  logins: {
    name: 'login_duration_seconds',
    help: 'Duration of successful logins, from accept to OK_Packet.',
    labels: [],
    all: [{}] as Labels[],
  },
} as const

/** The histogram of a duration, and its labels besides `endpoint`. */
export function histogramOf(phase: Phase | 'total'): [name: keyof typeof HISTOGRAMS, labels: Labels] {
  return phase === 'total' ? ['logins', {}] : ['phases', { phase }]
}

export const BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Not about one endpoint. */
export const BUILD_INFO = { name: 'build_info', help: 'Always 1. The labels have the versions.' }
