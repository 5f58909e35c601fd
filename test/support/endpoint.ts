/** An endpoint and its state, for tests that need no server. */
import { type Endpoint, parseHostPort } from '../../src/endpoint.ts'
import { createState, type EndpointState } from '../../src/state.ts'

const rds = { ...parseHostPort('database-1.abc.eu-west-1.rds.amazonaws.com', 3306, ''), region: 'eu-west-1' }

export const testEndpoint: Endpoint = {
  name: 'test',
  rds,
  dial: rds,
  proxy: undefined,
  user: undefined,
  tokenInHandshake: 'auto',
  connectTimeout: 5_000,
  greetingTimeout: 60_000,
  loginTimeout: 10_000,
  keepalive: 60_000,
  tcpUserTimeout: 60_000,
  clientWriteTimeout: 90_000,
  isTunnelled: false,
  requireWriter: false,
  compress: 'off',
}

export function createTestState(): EndpointState {
  return createState(testEndpoint, 0)
}
