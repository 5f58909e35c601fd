/** A target of logins, for tests with a server that follows a script. */
import { silent } from '../../src/log.ts'
import type { HandshakeResponse41 } from '../../src/protocol/packets.ts'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { dial } from '../../src/upstream/dial.ts'
import { createGreetingWatch } from '../../src/upstream/greeting-watch.ts'
import { type LoginTarget, login } from '../../src/upstream/login.ts'
import { createLoginHistory } from '../../src/upstream/refusal.ts'
import { createTrust } from '../../src/upstream/trust.ts'
import { PLAIN_CLIENT } from './capabilities.ts'
import { createTestClock } from './clock.ts'
import { createTestState, testEndpoint } from './endpoint.ts'
import { RDS_HOST, testCertificates } from './scripted-upstream.ts'

const stays = new AbortController().signal

/** What a client has sent. */
export const client: HandshakeResponse41 = {
  capabilities: PLAIN_CLIENT,
  maxPacketSize: 1 << 24,
  charset: 45,
  reserved: Buffer.alloc(23),
  user: Buffer.from('somebody'),
  authResponse: Buffer.alloc(0),
  database: undefined,
  authPlugin: undefined,
  attributes: undefined,
  zstdLevel: undefined,
}

/** An endpoint at 127.0.0.1:`port`, on a test clock; `slots` counts the slots of the login rate that were taken. */
export async function createTarget(port: number) {
  const clock = createTestClock(1_000)
  const { authority } = await testCertificates()
  const taken = { slots: 0 }
  const target: LoginTarget = {
    endpoint: {
      ...testEndpoint,
      rds: { ...testEndpoint.rds, host: RDS_HOST },
      dial: { ...testEndpoint.dial, host: '127.0.0.1', port },
    },
    state: createTestState(),
    trust: createTrust([authority.certificate], true, clock),
    limiter: {
      tryAcquire() {
        taken.slots++
        return true
      },
      async acquire() {
        taken.slots++
      },
      async takeSoon() {
        taken.slots++
      },
    },
    createToken: async () => 'the token',
    addresses: createAddressBook(clock),
    greetings: createGreetingWatch('db', silent, clock),
    tunnel: undefined,
    takesTokenInHandshake: undefined,
    history: createLoginHistory({ clock }),
  }
  const dialled = () => dial(target.endpoint, stays, { clock })
  const logIn = async (from = client) => login(await dialled(), target, from, 'iam_user', stays)
  return { clock, target, taken, dialled, logIn }
}
