/** The files that decide about security and logins, and the test files that should notice a change, quickest first. */
export interface Target {
  file: string
  tests: readonly string[]
}

const LOGINS = [
  'test/proxy/session-login.test.ts',
  'test/proxy/faults-upstream.test.ts',
  'test/proxy/faults-client.test.ts',
]
const TLS = ['test/upstream/trust.test.ts', 'test/proxy/faults-tls.test.ts']
const HANDSHAKE = [
  'test/client/handshake.test.ts',
  'test/proxy/faults-client.test.ts',
  'test/proxy/session-login.test.ts',
]
const CHANGE_USER = ['test/proxy/change-user-faults.test.ts', 'test/proxy/change-user.test.ts']
const SESSION_END = ['test/proxy/end-session.test.ts', 'test/proxy/session-end.test.ts']

export const TARGETS: readonly Target[] = [
  { file: 'src/protocol/auth.ts', tests: ['test/protocol/auth.test.ts', 'test/client/handshake.test.ts'] },
  { file: 'src/protocol/capabilities.ts', tests: ['test/protocol/capabilities.test.ts'] },
  { file: 'src/protocol/command-scanner.ts', tests: ['test/protocol/command-scanner.test.ts', ...CHANGE_USER] },
  { file: 'src/protocol/last-packet.ts', tests: ['test/protocol/last-packet.test.ts', ...SESSION_END] },
  {
    file: 'src/protocol/sha256-crypt.ts',
    tests: ['test/protocol/sha256-crypt.test.ts', 'test/client/local-users.test.ts'],
  },
  { file: 'src/client/access.ts', tests: ['test/client/access.test.ts', ...HANDSHAKE] },
  { file: 'src/client/handshake.ts', tests: HANDSHAKE },
  { file: 'src/client/local-users.ts', tests: ['test/client/local-users.test.ts', ...HANDSHAKE] },
  { file: 'src/client/login-throttle.ts', tests: ['test/client/login-throttle.test.ts', ...HANDSHAKE] },
  { file: 'src/client/tls.ts', tests: ['test/client/tls.test.ts', ...HANDSHAKE] },
  { file: 'src/upstream/abandon.ts', tests: ['test/upstream/abandon.test.ts', ...SESSION_END, ...LOGINS] },
  { file: 'src/upstream/dial.ts', tests: ['test/upstream/dial.test.ts', ...LOGINS] },
  { file: 'src/upstream/login-queue.ts', tests: ['test/upstream/login-queue.test.ts'] },
  { file: 'src/upstream/login.ts', tests: ['test/upstream/login.test.ts', ...LOGINS] },
  { file: 'src/upstream/require-writer.ts', tests: ['test/upstream/require-writer.test.ts'] },
  { file: 'src/upstream/tls.ts', tests: ['test/upstream/tls.test.ts', ...TLS] },
  { file: 'src/upstream/trust.ts', tests: TLS },
  { file: 'src/proxy/change-user.ts', tests: CHANGE_USER },
  { file: 'src/proxy/end-session.ts', tests: SESSION_END },
  { file: 'src/aws/credentials.ts', tests: ['test/aws/credentials.test.ts'] },
  { file: 'src/aws/token.ts', tests: ['test/aws/token.test.ts', 'test/aws/credentials.test.ts'] },
]
