/** The files that decide about security and logins, and the test files that should notice a change, quickest first. */
export interface Target {
  file: string
  tests: readonly string[]
}

/** Test files that start no program and leave nothing behind: reload.ts runs them. */
export const QUICK: ReadonlySet<string> = new Set([
  'test/aws/credentials-cache.test.ts',
  'test/aws/credentials.test.ts',
  'test/aws/https-agent.test.ts',
  'test/aws/redact.test.ts',
  'test/aws/roles-anywhere-certificate.test.ts',
  'test/aws/roles-anywhere-signature.test.ts',
  'test/aws/token.test.ts',
  'test/client/access.test.ts',
  'test/client/full-authentication.test.ts',
  'test/client/greet.test.ts',
  'test/client/local-users.test.ts',
  'test/client/login-throttle.test.ts',
  'test/client/missing-fields.test.ts',
  'test/client/send-ok.test.ts',
  'test/client/tls.test.ts',
  'test/protocol/auth.test.ts',
  'test/protocol/capabilities.test.ts',
  'test/protocol/command-scanner.test.ts',
  'test/protocol/compressed-command-scanner.test.ts',
  'test/protocol/inflate.test.ts',
  'test/protocol/last-packet.test.ts',
  'test/protocol/sha256-crypt.test.ts',
  'test/net/tunnel.test.ts',
  'test/upstream/abandon.test.ts',
  'test/upstream/bundle-cache.test.ts',
  'test/upstream/circuit-breaker.test.ts',
  'test/upstream/dial-steps.test.ts',
  'test/upstream/dial.test.ts',
  'test/upstream/region-to-sign.test.ts',
  'test/proxy/change-user-faults.test.ts',
  'test/proxy/change-user-steps.test.ts',
  'test/proxy/session-close.test.ts',
  'test/upstream/login-rules.test.ts',
  'test/upstream/login-steps.test.ts',
  'test/upstream/login.test.ts',
  'test/upstream/rate-limiter.test.ts',
  'test/upstream/rds-bundle.test.ts',
  'test/upstream/region-bundle.test.ts',
  'test/upstream/require-writer-answers.test.ts',
  'test/upstream/tls.test.ts',
  'test/upstream/trust.test.ts',
])

/** Those of them that log in to a real server, which run.ts starts once. */
export const WITH_SERVER: ReadonlySet<string> = new Set([
  'test/client/full-authentication.test.ts',
  'test/client/missing-fields.test.ts',
])

const UPSTREAM = [
  'test/upstream/login-rules.test.ts',
  'test/upstream/login-steps.test.ts',
  'test/upstream/login.test.ts',
]
const TLS = [
  'test/upstream/tls.test.ts',
  'test/upstream/server-region.test.ts',
  'test/upstream/login-steps.test.ts',
  'test/proxy/faults-tls.test.ts',
]
export const TARGETS: readonly Target[] = [
  { file: 'src/protocol/auth.ts', tests: ['test/protocol/auth.test.ts'] },
  { file: 'src/protocol/capabilities.ts', tests: ['test/protocol/capabilities.test.ts'] },
  {
    file: 'src/protocol/command-scanner.ts',
    tests: ['test/protocol/command-scanner.test.ts', 'test/protocol/packets.test.ts', ...UPSTREAM],
  },
  {
    file: 'src/protocol/compressed-command-scanner.ts',
    tests: ['test/protocol/compressed-command-scanner.test.ts', 'test/proxy/change-user-hidden.test.ts'],
  },
  {
    file: 'src/protocol/inflate.ts',
    tests: ['test/protocol/inflate.test.ts', 'test/protocol/compressed-command-scanner.test.ts'],
  },
  { file: 'src/protocol/last-packet.ts', tests: ['test/protocol/last-packet.test.ts'] },
  { file: 'src/protocol/sha256-crypt.ts', tests: ['test/protocol/sha256-crypt.test.ts'] },
  { file: 'src/client/access.ts', tests: ['test/client/access.test.ts'] },
  {
    file: 'src/client/handshake.ts',
    tests: [
      'test/client/greet.test.ts',
      'test/client/missing-fields.test.ts',
      'test/client/send-ok.test.ts',
      'test/client/full-authentication.test.ts',
    ],
  },
  { file: 'src/client/local-users.ts', tests: ['test/client/local-users.test.ts'] },
  { file: 'src/client/login-throttle.ts', tests: ['test/client/login-throttle.test.ts'] },
  { file: 'src/client/tls.ts', tests: ['test/client/tls.test.ts'] },
  { file: 'src/net/tunnel.ts', tests: ['test/net/tunnel.test.ts'] },
  { file: 'src/upstream/abandon.ts', tests: ['test/upstream/abandon.test.ts', 'test/upstream/login-steps.test.ts'] },
  { file: 'src/upstream/bundle-cache.ts', tests: ['test/upstream/bundle-cache.test.ts'] },
  { file: 'src/upstream/circuit-breaker.ts', tests: ['test/upstream/circuit-breaker.test.ts'] },
  { file: 'src/upstream/dial.ts', tests: ['test/upstream/dial-steps.test.ts', 'test/upstream/dial.test.ts'] },
  { file: 'src/upstream/login.ts', tests: UPSTREAM },
  { file: 'src/upstream/rate-limiter.ts', tests: ['test/upstream/rate-limiter.test.ts'] },
  {
    file: 'src/upstream/rds-bundle.ts',
    tests: [
      'test/upstream/rds-bundle.test.ts',
      'test/upstream/bundle-cache.test.ts',
      'test/upstream/region-bundle.test.ts',
    ],
  },
  { file: 'src/upstream/region-bundle.ts', tests: ['test/upstream/region-bundle.test.ts'] },
  { file: 'src/upstream/require-writer.ts', tests: ['test/upstream/require-writer-answers.test.ts'] },
  { file: 'src/upstream/server-region.ts', tests: ['test/upstream/region-to-sign.test.ts'] },
  { file: 'src/upstream/tls.ts', tests: TLS },
  { file: 'src/upstream/trust.ts', tests: ['test/upstream/trust.test.ts', 'test/upstream/login-steps.test.ts'] },
  { file: 'src/proxy/change-user.ts', tests: ['test/proxy/change-user-steps.test.ts'] },
  { file: 'src/proxy/end-session.ts', tests: ['test/proxy/session-close.test.ts'] },
  {
    file: 'src/aws/credentials.ts',
    tests: ['test/aws/credentials-cache.test.ts', 'test/sign-in/mfa.test.ts', 'test/aws/credentials.test.ts'],
  },
  { file: 'src/aws/https-agent.ts', tests: ['test/aws/https-agent.test.ts'] },
  { file: 'src/aws/redact.ts', tests: ['test/aws/redact.test.ts'] },
  { file: 'src/aws/roles-anywhere-certificate.ts', tests: ['test/aws/roles-anywhere-certificate.test.ts'] },
  { file: 'src/aws/roles-anywhere-signature.ts', tests: ['test/aws/roles-anywhere-signature.test.ts'] },
  { file: 'src/aws/token.ts', tests: ['test/aws/token.test.ts', 'test/aws/credentials.test.ts'] },
]
