import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { type Test, test } from 'tap'
import { ERRORS } from '../../src/index.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import { freePort } from '../support/free-port.ts'
import {
  checkEnded,
  checkGoodLogin,
  checkLog,
  checkNoSecrets,
  checkOutcome,
  connectMysql,
  type Failure,
  type Fault,
  hasToken,
  logIn,
  problems,
  runFault,
  startProxy,
  until,
} from '../support/proxy.ts'
import {
  ACCESS_DENIED,
  authSwitch,
  err,
  goodLogin,
  greeting,
  greetingWithout,
  OK,
  packet,
  refuseLogin,
  type Script,
  serveCommands,
  startScriptedUpstream,
  untilResponse,
  wait,
} from '../support/scripted-upstream.ts'

const DIAL = /127\.0\.0\.1:\d+/
const RDS = /database-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com/
const EARLY = { sqlState: undefined, token: false }

test('nothing listens at the address', async t => {
  const port = await freePort()
  const { address, log } = await startProxy(t, { connect: `127.0.0.1:${port}` })
  checkOutcome(t, await logIn(t, address), {
    code: 'DIAL_REFUSED',
    errno: 1042,
    sqlState: undefined,
    says: [new RegExp(`127\\.0\\.0\\.1:${port} refused`), /Start the tunnel or port forward/],
  })
  checkLog(t, log, 'DIAL_REFUSED')

  const error = await failure(connectMysql(address))
  t.match(error, { errno: 1042, message: /refused/ }, 'mysql2 reads it too')
  await startScriptedUpstream(t, [goodLogin], port)
  await checkGoodLogin(t, address)
})

test('the address does not answer', async t => {
  const port = await deafPort(t)
  const { address, log } = await startProxy(t, { connect: `127.0.0.1:${port}`, connectTimeout: 300 })
  for (const _ of ['first', 'second']) {
    log.length = 0
    checkOutcome(t, await logIn(t, address), {
      code: 'DIAL_TIMEOUT',
      errno: 1042,
      sqlState: undefined,
      says: [DIAL, /within 300 ms/, /accepts no connections/],
    })
    checkLog(t, log, 'DIAL_TIMEOUT')
  }
})

test('the name does not resolve', async t => {
  const { address, log } = await startProxy(t, { connect: 'no-such-nlb.invalid:3307' })
  checkOutcome(t, await logIn(t, address), {
    code: 'DIAL_DNS',
    errno: 1042,
    sqlState: undefined,
    says: [/name no-such-nlb\.invalid/, /no-such-nlb\.invalid:3307/, /Check the spelling/],
  })
  checkLog(t, log, 'DIAL_DNS')
})

const noGreeting: Fault[] = [
  {
    ...EARLY,
    name: 'resets before its greeting',
    script: async peer => {
      // Any earlier, and the connection itself fails.
      await peer.wait(30)
      peer.reset()
    },
    code: 'UPSTREAM_CLOSED',
    errno: 1158,
    says: [/closed while waiting for the greeting/, DIAL, /its other end does not reach/],
  },
  {
    ...EARLY,
    name: 'closes before its greeting',
    script: async peer => peer.close(),
    code: 'UPSTREAM_CLOSED',
    errno: 1158,
    says: [/closed while waiting for the greeting/, DIAL, /its other end does not reach/],
  },
  {
    ...EARLY,
    name: 'closes in the middle of a header',
    script: async peer => {
      peer.sendRaw(Buffer.of(0x4a, 0))
      peer.close()
    },
    code: 'UPSTREAM_CLOSED',
    errno: 1158,
    says: [/closed while waiting for the greeting/, DIAL],
  },
  {
    ...EARLY,
    name: 'closes in the middle of its greeting',
    script: async peer => {
      peer.sendRaw(packet(greeting(), 0).subarray(0, 30))
      peer.close()
    },
    code: 'UPSTREAM_CLOSED',
    errno: 1158,
    says: [/closed while waiting for the greeting/, DIAL],
  },
  {
    ...EARLY,
    name: 'accepts and says nothing',
    script: async () => {},
    options: { greetingTimeout: 300 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for the greeting/, DIAL, /is silent/],
  },
  {
    ...EARLY,
    name: 'stops in the middle of its greeting',
    script: async peer => peer.sendRaw(packet(greeting(), 0).subarray(0, 30)),
    options: { greetingTimeout: 300 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for the greeting/, DIAL],
  },
  ...notMysql({
    'is a web server': 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n',
    'is an SSH server': 'SSH-2.0-OpenSSH_9.6\r\n',
    'sends rubbish': Buffer.from('9f1c00e2d7553a0bff8a7d', 'hex'),
    'greets with a wrong sequence id': packet(greeting(), 1),
    'announces an oversized packet': Buffer.of(0xff, 0xff, 0xff, 0),
    'sends an empty packet': packet(Buffer.alloc(0), 0),
    'sends an OK_Packet instead of a greeting': packet(OK, 0),
    'speaks protocol version 9': packet(Buffer.concat([Buffer.of(9), Buffer.from('3.20.1\0\x01\0\0\0abcdefgh\0')]), 0),
    'sends a greeting that is too short': packet(greeting().subarray(0, 20), 0),
    'sends a greeting with no end of its version': packet(Buffer.concat([Buffer.of(10), Buffer.from('8.0.39')]), 0),
    'sends an ERR_Packet that is too short': packet(Buffer.of(0xff, 0x10), 0),
  }),
  {
    ...EARLY,
    name: 'has too many connections',
    script: async peer => peer.send(err(1040, undefined, 'Too many connections')),
    code: 'UPSTREAM_REFUSED_CONNECTION',
    errno: 1040,
    says: [/^Too many connections/, /raise max_connections/],
  },
  {
    ...EARLY,
    name: 'has blocked the host',
    script: async peer => {
      peer.send(err(1129, undefined, "Host '10.0.0.5' is blocked because of many connection errors"))
      peer.close()
    },
    code: 'UPSTREAM_REFUSED_CONNECTION',
    errno: 1129,
    says: [/^Host '10\.0\.0\.5' is blocked/, /FLUSH HOSTS/, /max_connect_errors/, DIAL],
  },
  {
    ...EARLY,
    name: 'lets the host not in',
    script: async peer => peer.send(err(1130, undefined, "Host '10.0.0.5' is not allowed to connect")),
    code: 'UPSTREAM_REFUSED_CONNECTION',
    errno: 1130,
    says: [/^Host '10\.0\.0\.5' is not allowed/, /address of the other end/],
  },
  {
    ...EARLY,
    name: 'refuses with 1045 before anybody named a user',
    script: async peer => peer.send(ACCESS_DENIED),
    code: 'UPSTREAM_REFUSED_CONNECTION',
    errno: 1045,
    says: [/^Access denied/],
  },
]

function notMysql(answers: Record<string, Buffer | string>): Fault[] {
  return Object.entries(answers).map(([name, bytes]) => ({
    ...EARLY,
    name,
    script: async peer => peer.sendRaw(bytes),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    says: [/Another program listens on 127\.0\.0\.1:\d+/, RDS],
  }))
}

for (const fault of noGreeting) test(`instead of greeting, the upstream ${fault.name}`, t => runFault(t, fault))

test('the upstream cannot receive a token', t =>
  runFault(t, {
    name: '',
    script: async peer => peer.send(greetingWithout(flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)),
    token: false,
    code: 'UPSTREAM_TOO_OLD',
    errno: 1043,
    sqlState: '08S01',
    says: [/version 8\.0\.39, cannot receive a token/, /RDS for MySQL 5\.7 or newer/],
  }))

/** What the upstream does with the token. */
function afterToken(script: Script): Script {
  return async peer => {
    await untilResponse(peer)
    await script(peer)
  }
}

const AFTER_TOKEN = { sqlState: '08S01', token: true }
const CLOSED = { code: 'UPSTREAM_CLOSED', errno: 1158, says: [/result of the login/, DIAL, RDS] } as const
const NOT_IAM = { sqlState: '28000', code: 'AUTH_PLUGIN_UNEXPECTED', errno: 1045 } as const

const duringLogin: Fault[] = [
  { ...AFTER_TOKEN, ...CLOSED, says: [...CLOSED.says], name: 'closes', script: afterToken(async peer => peer.close()) },
  { ...AFTER_TOKEN, ...CLOSED, says: [...CLOSED.says], name: 'resets', script: afterToken(async peer => peer.reset()) },
  {
    ...AFTER_TOKEN,
    ...CLOSED,
    says: [...CLOSED.says],
    name: 'closes in the middle of a header',
    script: afterToken(async peer => {
      peer.sendRaw(Buffer.of(7, 0, 0))
      peer.close()
    }),
  },
  {
    ...AFTER_TOKEN,
    ...CLOSED,
    says: [...CLOSED.says],
    name: 'closes in the middle of its OK_Packet',
    script: afterToken(async peer => {
      peer.sendRaw(packet(OK, 3).subarray(0, 6))
      peer.close()
    }),
  },
  {
    ...AFTER_TOKEN,
    name: 'says nothing',
    script: afterToken(async () => {}),
    options: { loginTimeout: 5_000 },
    code: 'UPSTREAM_TIMEOUT',
    errno: 1159,
    says: [/timed out while waiting for the result of the login/, DIAL],
  },
  {
    ...AFTER_TOKEN,
    name: 'answers with a wrong sequence id',
    script: afterToken(async peer => peer.send(OK, 9)),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    says: [/sequence id 9, expected 3/, DIAL],
  },
  {
    ...AFTER_TOKEN,
    name: 'answers with an oversized packet',
    script: afterToken(async peer => peer.sendRaw(Buffer.of(0xff, 0xff, 0xff, 3))),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    says: [/a packet of 16777215 bytes/, DIAL],
  },
  {
    ...AFTER_TOKEN,
    name: 'answers with an ERR_Packet that is too short',
    script: afterToken(async peer => peer.send(Buffer.of(0xff, 0x15))),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    says: [/result of the login/, DIAL],
  },
  {
    ...AFTER_TOKEN,
    name: 'answers with an empty packet',
    script: afterToken(async peer => peer.send(Buffer.alloc(0))),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    says: [/result of the login/, DIAL],
  },
  ...['caching_sha2_password', 'mysql_native_password', 'sha256_password'].map<Fault>(plugin => ({
    ...NOT_IAM,
    token: true,
    name: `asks for ${plugin}`,
    script: afterToken(async peer => {
      peer.send(authSwitch(plugin))
      await expectEmpty(peer.expect())
      peer.send(ACCESS_DENIED)
    }),
    says: [
      new RegExp(`user 'iam_user': the server asks for ${plugin}, not for an IAM token`),
      /AWSAuthenticationPlugin/,
    ],
  })),
  {
    ...NOT_IAM,
    token: true,
    name: 'asks for mysql_old_password',
    script: afterToken(async peer => {
      peer.send(Buffer.of(0xfe))
      await expectEmpty(peer.expect())
      peer.send(ACCESS_DENIED)
    }),
    says: [/asks for mysql_old_password/, /AWSAuthenticationPlugin/],
  },
  {
    ...NOT_IAM,
    token: true,
    name: 'asks for another method and closes without a refusal',
    script: afterToken(async peer => {
      peer.send(authSwitch('caching_sha2_password'))
      await expectEmpty(peer.expect())
      peer.close()
    }),
    says: [/asks for caching_sha2_password/, /AWSAuthenticationPlugin/],
  },
  {
    ...NOT_IAM,
    token: true,
    name: 'asks for another method and takes the empty password',
    script: afterToken(async peer => {
      peer.send(authSwitch('mysql_native_password'))
      await expectEmpty(peer.expect())
      peer.send(OK)
    }),
    says: [/asks for mysql_native_password/],
  },
  {
    ...NOT_IAM,
    token: true,
    name: 'asks for the token again and again',
    script: afterToken(async peer => {
      for (;;) {
        peer.send(authSwitch('mysql_clear_password'))
        await peer.expect()
      }
    }),
    says: [/iam_user/],
  },
  {
    ...NOT_IAM,
    token: true,
    name: 'sends AuthMoreData',
    script: afterToken(async peer => peer.send(Buffer.of(1, 4))),
    says: [/iam_user.*more data/],
  },
  {
    token: true,
    name: 'asks for a local file',
    script: afterToken(async peer => peer.send(Buffer.from('\xfb/etc/passwd', 'latin1'))),
    code: 'UPSTREAM_NOT_MYSQL',
    errno: 1043,
    sqlState: '08S01',
    says: [/neither OK_Packet nor ERR_Packet/],
  },
  {
    token: true,
    name: 'denies access',
    script: afterToken(async peer => peer.send(ACCESS_DENIED)),
    code: 'UPSTREAM_REFUSED_LOGIN',
    errno: 1045,
    sqlState: '28000',
    says: [
      /^Access denied for user 'iam_user'@'10\.0\.0\.5' \(using password: YES\)/,
      /rds-db:connect in the IAM policy for user 'iam_user'/,
      /region eu-west-1/,
    ],
  },
  passedOn(1049, '42000', "Unknown database 'shop'"),
  passedOn(3159, 'HY000', 'Connections using insecure transport are prohibited', /terminates TLS/),
  passedOn(3118, 'HY000', "Access denied for user 'iam_user'@'10.0.0.5'. Account is locked.", /ACCOUNT UNLOCK/),
  passedOn(1524, 'HY000', "Plugin 'AWSAuthenticationPlugin' is not loaded", /IAM authentication is off/),
  passedOn(1040, '08004', 'Too many connections', /raise max_connections/),
]

function passedOn(errno: number, sqlState: string, message: string, hint?: RegExp): Fault {
  return {
    token: true,
    name: `refuses with ${errno}`,
    script: afterToken(async peer => peer.send(err(errno, sqlState, message))),
    code: 'UPSTREAM_REFUSED_LOGIN',
    errno,
    sqlState,
    says: [new RegExp(`^${message.replace(/[.()']/g, '\\$&')}${hint ? '' : '$'}`), ...(hint ? [hint] : [])],
  }
}

async function expectEmpty(payload: Promise<Buffer>): Promise<void> {
  const { length } = await payload
  if (length > 0) throw new Error(`an empty answer expected, not ${length} bytes`)
}

for (const fault of duringLogin) test(`after the token, the upstream ${fault.name}`, t => runFault(t, fault))

test('a long error of the server still fits with its hint', t =>
  runFault(t, {
    name: '',
    script: afterToken(async peer =>
      peer.send(err(1045, '28000', `Access denied for user '${'u'.repeat(32)}'@'${'h'.repeat(400)}'`)),
    ),
    token: true,
    code: 'UPSTREAM_REFUSED_LOGIN',
    errno: 1045,
    sqlState: '28000',
    says: [/^Access denied for user 'u{32}'@'h+/, /rds-db:connect/],
  }))

test("the upstream disconnects between its greeting and the client's answer", async t => {
  const ways: Record<string, Script> = {
    FIN: async peer => {
      peer.send(greeting())
      peer.close()
    },
    RST: async peer => {
      peer.send(greeting())
      await wait(30)
      peer.reset()
    },
  }
  for (const [way, script] of Object.entries(ways)) {
    await t.test(way, t =>
      runFault(t, {
        name: way,
        script,
        client: { thinks: 150 },
        token: false,
        code: 'UPSTREAM_CLOSED',
        errno: 1158,
        sqlState: '08S01',
        says: [/connection closed/, DIAL],
      }),
    )
  }
})

test('an internal error reaches the client, and the connection to the upstream ends', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { address, log, proxy } = await startProxy(t, { connect: upstream.address })
  proxy.state.onPhase = phase => {
    if (phase === 'total') throw new TypeError('a bug')
  }
  checkOutcome(t, await logIn(t, address), { ...ERRORS.INTERNAL, code: 'INTERNAL', says: [/a bug/] })
  t.match(
    log.filter(({ level }) => level === 'error'),
    [{ fields: { code: 'INTERNAL', stack: /TypeError: a bug/ } }],
  )
  await checkEnded(t, upstream)
})

test('mysql2 shows an error before and after the greeting', async t => {
  const upstream = await startScriptedUpstream(t, [
    async peer => peer.send(err(1040, undefined, 'Too many connections')),
    afterToken(async peer => peer.send(ACCESS_DENIED)),
  ])
  const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
  t.match(await failure(connectMysql(address)), { errno: 1040, message: /^Too many connections.*raise/ })
  t.match(await failure(connectMysql(address)), { errno: 1045, sqlState: '28000', message: /rds-db:connect/ })
})

/** A server that takes a token only in answer to its AuthSwitchRequest; counts how it was tried. */
function ordinaryOnly(tries: string[]): Script {
  return async peer => {
    const response = await untilResponse(peer, { threadId: 100 + tries.length })
    if (response.authPlugin === 'mysql_clear_password') {
      tries.push('in handshake')
      peer.send(ACCESS_DENIED)
      return
    }
    tries.push('ordinary')
    if (response.authResponse.length > 0) throw new Error('an answer although nothing was asked')
    peer.send(authSwitch('mysql_clear_password'))
    const token = await peer.expect()
    if (!token.includes('X-Amz-Signature') || token.at(-1) !== 0) throw new Error('no token')
    peer.send(OK)
    await serveCommands(peer)
  }
}

/** A server that takes the token in HandshakeResponse41, until `denies` says otherwise. */
function inHandshake(tries: string[], denies: () => boolean = () => false): Script {
  return async peer => {
    const response = await untilResponse(peer)
    tries.push(response.authPlugin === 'mysql_clear_password' ? 'in handshake' : 'ordinary')
    peer.send(denies() ? ACCESS_DENIED : OK)
    if (!denies()) await serveCommands(peer)
  }
}

test('tokenInHandshake', async t => {
  const denied: Failure = {
    code: 'UPSTREAM_REFUSED_LOGIN',
    errno: 1045,
    sqlState: '28000',
    says: [/^Access denied/, /rds-db:connect/],
  }

  await t.test('never: a server that refuses without asking for a token does not know the user', async t => {
    const upstream = await startScriptedUpstream(t, [inHandshake([], () => true)])
    const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'never' })
    const says = [/^Access denied/, /does not exist.*CREATE USER 'iam_user' IDENTIFIED WITH AWSAuthenticationPlugin/]
    checkOutcome(t, await logIn(t, address), { ...denied, says })
    checkLog(t, log, 'UPSTREAM_REFUSED_LOGIN')
    await checkEnded(t, upstream)
  })

  await t.test('never: a server that asks for a token and refuses it knows the user', async t => {
    const upstream = await startScriptedUpstream(t, [
      async peer => {
        await untilResponse(peer)
        peer.send(authSwitch('mysql_clear_password'))
        await peer.expect()
        peer.send(ACCESS_DENIED)
      },
    ])
    const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'never' })
    checkOutcome(t, await logIn(t, address), { ...denied, says: [/rds-db:connect/] })
    await checkEnded(t, upstream)
  })

  await t.test('auto learns that the server needs the AuthSwitchRequest, and remembers it', async t => {
    const tries: string[] = []
    const upstream = await startScriptedUpstream(t, [ordinaryOnly(tries)])
    const { address, log } = await startProxy(t, { connect: upstream.address })
    await checkGoodLogin(t, address)
    t.same(tries, ['in handshake', 'ordinary'])
    await checkGoodLogin(t, address)
    t.same(tries, ['in handshake', 'ordinary', 'ordinary'])
    await checkEnded(t, upstream)
    t.same(problems(log), [])
    checkNoSecrets(t, log)
  })

  await t.test('auto does not retry once the token in the handshake has worked', async t => {
    const tries: string[] = []
    let denies = false
    const upstream = await startScriptedUpstream(t, [inHandshake(tries, () => denies)])
    const { address, log } = await startProxy(t, { connect: upstream.address })
    await checkGoodLogin(t, address)
    denies = true
    const recent = /logged in \d+ s ago, so AWS may be throttling/
    checkOutcome(t, await logIn(t, address), { ...denied, says: [...denied.says, recent] })
    t.same(tries, ['in handshake', 'in handshake'])
    checkLog(t, log, 'UPSTREAM_REFUSED_LOGIN')
    await checkEnded(t, upstream)
  })

  await t.test('auto learns nothing if both ways are refused', async t => {
    const tries: string[] = []
    let denies = true
    const upstream = await startScriptedUpstream(t, [inHandshake(tries, () => denies)])
    const { address, log } = await startProxy(t, { connect: upstream.address })
    checkOutcome(t, await logIn(t, address), denied)
    t.same(tries, ['in handshake', 'ordinary'])
    checkLog(t, log, 'UPSTREAM_REFUSED_LOGIN')
    await checkEnded(t, upstream)
    denies = false
    await checkGoodLogin(t, address)
    t.same(tries.slice(2), ['in handshake'])
  })

  await t.test('auto retries only after 1045', async t => {
    const upstream = await startScriptedUpstream(t, [
      afterToken(async peer => peer.send(err(1049, '42000', "Unknown database 'shop'"))),
      goodLogin,
    ])
    const { address, log } = await startProxy(t, { connect: upstream.address })
    t.match(await logIn(t, address), { error: { errno: 1049 } })
    t.equal(upstream.connections.length, 1)
    checkLog(t, log, 'UPSTREAM_REFUSED_LOGIN')
    await checkEnded(t, upstream)
  })

  const secondFails: [name: string, script: Script, failure: Failure][] = [
    [
      'asks for another method',
      async peer => {
        await untilResponse(peer)
        peer.send(authSwitch('caching_sha2_password'))
        await peer.expect()
        peer.send(ACCESS_DENIED)
      },
      { ...NOT_IAM, says: [/asks for caching_sha2_password/] },
    ],
    [
      'offers no TLS',
      async peer => peer.send(greetingWithout(flags.CLIENT_SSL)),
      { code: 'TLS_NOT_OFFERED', errno: 1043, sqlState: '08S01', says: [DIAL] },
    ],
    [
      'sends no greeting',
      async peer => peer.sendRaw('SSH-2.0-OpenSSH_9.6\r\n'),
      { code: 'UPSTREAM_NOT_MYSQL', errno: 1043, sqlState: '08S01', says: [DIAL] },
    ],
    [
      'has no connection left',
      async peer => peer.send(err(1040, undefined, 'Too many connections')),
      { code: 'UPSTREAM_REFUSED_CONNECTION', errno: 1040, sqlState: 'HY000', says: [/^Too many connections/] },
    ],
  ]
  for (const [name, script, expected] of secondFails) {
    await t.test(`the second connection of auto ${name}`, async t => {
      const upstream = await startScriptedUpstream(t, [afterToken(async peer => peer.send(ACCESS_DENIED)), script])
      const { address, log } = await startProxy(t, { connect: upstream.address })
      checkOutcome(t, await logIn(t, address), expected)
      checkLog(t, log, expected.code)
      t.equal(upstream.connections.length, 2)
      await checkEnded(t, upstream)
    })
  }

  await t.test('always does not retry', async t => {
    const tries: string[] = []
    const upstream = await startScriptedUpstream(t, [ordinaryOnly(tries)])
    const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
    checkOutcome(t, await logIn(t, address), denied)
    t.same(tries, ['in handshake'])
    checkLog(t, log, 'UPSTREAM_REFUSED_LOGIN')
    await checkEnded(t, upstream)
  })

  await t.test('always: a server that sends an AuthSwitchRequest anyway gets the answer', async t => {
    const upstream = await startScriptedUpstream(t, [
      async peer => {
        await untilResponse(peer)
        peer.send(authSwitch('mysql_clear_password'))
        await peer.expect()
        peer.send(OK)
        await serveCommands(peer)
      },
    ])
    const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
    await checkGoodLogin(t, address)
  })

  await t.test('never waits for the AuthSwitchRequest', async t => {
    const tries: string[] = []
    const upstream = await startScriptedUpstream(t, [ordinaryOnly(tries)])
    const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'never' })
    await checkGoodLogin(t, address)
    await checkGoodLogin(t, address)
    t.same(tries, ['ordinary', 'ordinary'])
  })

  await t.test('never sends no token to a server that does not ask for one', async t => {
    const upstream = await startScriptedUpstream(t, [
      afterToken(async peer => {
        peer.send(authSwitch('mysql_native_password'))
        await expectEmpty(peer.expect())
        peer.send(ACCESS_DENIED)
      }),
    ])
    const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'never' })
    checkOutcome(t, await logIn(t, address), { ...NOT_IAM, says: [/asks for mysql_native_password/] })
    checkLog(t, log, 'AUTH_PLUGIN_UNEXPECTED')
    t.notOk(hasToken(upstream.connections[0]!))
  })
})

test('the client sees the thread id of the connection that serves it', async t => {
  const tries: string[] = []
  const upstream = await startScriptedUpstream(t, [ordinaryOnly(tries)])
  const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'never' })
  t.match(await logIn(t, address), { ok: true, threadId: 100 })
  t.match(
    log.find(({ message }) => message === 'session started'),
    { fields: { threadId: 100 } },
  )
})

test('close() ends a session whose upstream is silent', async t => {
  const scripts: Record<string, Script> = {
    'before its greeting': async () => {},
    'after the token': afterToken(async () => {}),
  }
  for (const [stage, script] of Object.entries(scripts)) {
    await t.test(stage, async t => {
      const upstream = await startScriptedUpstream(t, [script])
      const { address, proxy } = await startProxy(t, { connect: upstream.address, loginTimeout: 600_000 })
      const outcome = logIn(t, address)
      await until(() => upstream.connections.length === 1)
      await proxy.close()
      t.notOk((await outcome).ok)
      await checkEnded(t, upstream)
    })
  }
})

test('many concurrent failing logins leave nothing behind', async t => {
  const ends: Script[] = [
    async peer => peer.reset(),
    async peer => peer.sendRaw('SSH-2.0-OpenSSH_9.6\r\n'),
    refuseLogin(),
    async peer => {
      peer.send(greeting())
      await peer.expect()
      peer.reset()
    },
  ]
  // Four of each kind: after five that fail alike, there would be a pause.
  const scripts = Array.from({ length: 16 }, (_, index) => ends[index % ends.length]!)
  const upstream = await startScriptedUpstream(t, [...scripts, goodLogin])
  const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
  const outcomes = await Promise.all(scripts.map(() => logIn(t, address)))
  t.ok(outcomes.every(({ ok, error }) => !ok && error !== undefined))
  t.equal(problems(log).length, scripts.length)
  checkNoSecrets(t, log)
  await checkEnded(t, upstream)
  await checkGoodLogin(t, address)
})

/** What a promise is rejected with. */
function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no failure',
    error => error,
  )
}

/** A port whose listener never accepts and whose backlog is full: the kernel drops what comes. */
async function deafPort(t: Test): Promise<number> {
  const source = `
    const { parentPort } = require('node:worker_threads')
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const worker = new Worker(source, { eval: true, execArgv: [] })
  const [port] = (await once(worker, 'message')) as [number]
  const sockets: Socket[] = []
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    await worker.terminate()
  })
  for (;;) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    sockets.push(socket)
    const isIn = await Promise.race([once(socket, 'connect').then(() => true), wait(200).then(() => false)])
    if (!isIn) return port
  }
}
