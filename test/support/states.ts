/** States of endpoints and sessions, for tests of metrics, health and the status page. */
import type { Endpoint } from '../../src/endpoint.ts'
import { createState, type EndpointState, removeSession, type Session } from '../../src/state.ts'

export const RDS = 'database-1.xxxxxxxxxxx.ap-northeast-1.rds.amazonaws.com'
export const NLB = 'my-nlb-0123456789abcdef.elb.ap-northeast-1.amazonaws.com'

/** An idle endpoint: no sessions, no logins so far. */
export function makeState(overrides: Partial<EndpointState> = {}): EndpointState {
  const { name = 'database-1' } = overrides
  const endpoint: Endpoint = {
    name,
    rds: { host: RDS, port: 3306, region: 'ap-northeast-1' },
    dial: { host: NLB, port: 3306 },
    proxy: undefined,
    user: undefined,
    tokenInHandshake: 'auto',
    connectTimeout: 5_000,
    greetingTimeout: 60_000,
    loginTimeout: 8_000,
    keepalive: 60_000,
    tcpUserTimeout: 60_000,
    clientWriteTimeout: 90_000,
    isTunnelled: false,
    requireWriter: false,
    compress: 'off',
  }
  return { ...createState(endpoint, 0), address: '127.0.0.1:3306', ...overrides }
}

let lastId = 0

/** Adds an open session to `state`. Its close removes it and adds its bytes to `ended`. */
export function addSession(state: EndpointState, overrides: Partial<Session> = {}): Session {
  const session: Session = {
    id: `test-${++lastId}`,
    since: Date.now(),
    started: performance.now(),
    phase: 'open',
    client: '127.0.0.1',
    localUser: undefined,
    user: 'iam_user',
    database: 'shop',
    program: 'mysql',
    tls: undefined,
    threadId: 4_000 + lastId,
    traffic: { bytesFromClient: 0, bytesFromUpstream: 0 },
    compressed: undefined,
    endedBy: undefined,
    isIdle: () => true,
    activity: () => 'idle',
    close(why) {
      session.endedBy = why
      removeSession(state, session)
    },
    ...overrides,
  }
  state.sessions.add(session)
  return session
}
