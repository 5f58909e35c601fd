/** Copies what a user of the library can see of a proxy. */
import { formatHostPort } from '../endpoint.ts'
import { type EndpointState, onLine, traffic } from '../state.ts'
import type { ProxyStatus } from './status.ts'

export function statusOf(state: EndpointState, life: ProxyStatus['state']): ProxyStatus {
  const { endpoint } = state
  const bytes = traffic(state)
  return {
    name: state.name,
    state: life,
    rdsEndpoint: formatHostPort(endpoint.rds),
    connect: formatHostPort(endpoint.dial),
    region: endpoint.rds.region,
    address: state.address || undefined,
    sessions: [...state.sessions].map(({ traffic, compressed, since, ...session }) => ({
      id: session.id,
      since: new Date(since),
      phase: session.phase,
      client: session.client,
      localUser: session.localUser,
      user: session.user,
      database: session.database,
      program: session.program,
      threadId: session.threadId,
      bytesFromClient: traffic.bytesFromClient,
      bytesFromServer: traffic.bytesFromUpstream,
      compression: compressed?.compression,
      lineBytesFromClient: onLine({ compressed, traffic }).bytesFromClient,
      lineBytesFromServer: onLine({ compressed, traffic }).bytesFromUpstream,
    })),
    loginsQueued: state.loginsQueued,
    logins: Object.fromEntries(state.outcomes),
    bytesFromClients: bytes.bytesFromClient,
    bytesFromServer: bytes.bytesFromServer,
    lineBytesFromClients: bytes.lineBytesFromClient,
    lineBytesFromServer: bytes.lineBytesFromServer,
    compression: state.compression(),
    tunnel: state.tunnel && {
      state: state.tunnel.word,
      since: new Date(state.tunnel.since),
      restarts: state.tunnel.restarts,
      error: state.tunnel.error?.message,
    },
    credentialsFailed: state.credentialsFailed,
    credentialsExpire: toDate(state.credentialsExpire),
    certificateExpires: toDate(state.certificateExpires),
    recentErrors: state.recentErrors.map(({ at, firstAt, ...error }) => ({
      ...error,
      at: new Date(at),
      firstAt: new Date(firstAt),
    })),
  }
}

function toDate(time: number | undefined): Date | undefined {
  return time === undefined ? undefined : new Date(time)
}
