import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import type { HostPort } from '../../src/endpoint.ts'
import { hintFor, ProxyError } from '../../src/errors.ts'
import { type ForwardProxy, isLocalHost, readForwardProxy } from '../../src/forward-proxy.ts'
import { openTunnel } from '../../src/net/tunnel.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import { takeBytes } from '../support/scripted-upstream.ts'

const TARGET = { host: 'nlb.example.com', port: 3306 }

/** What the proxy reads, a number of bytes, and what it then answers. */
type Step = [bytes: number, answer: string | Buffer]

/** Opens a tunnel through a proxy with this script. Afterwards the proxy closes the connection, unless it `stays`. */
async function open(
  t: Test,
  url: string,
  steps: Step[],
  {
    stays = false,
    target = TARGET,
    during,
  }: { stays?: boolean; target?: HostPort; during?: (socket: Socket) => void } = {},
) {
  let received = Buffer.alloc(0)
  const [socket, peer] = createMemoryPair(t)
  const serve = async () => {
    for (const [bytes, answer] of steps) {
      received = Buffer.concat([received, await takeBytes(peer, bytes)])
      peer.write(answer)
      await setImmediate() // the tunnel reads this before the next answer comes
    }
    if (!stays) socket.push(null) // as peer.end() does, which also adds a listener to the socket
  }
  const proxy = readForwardProxy(url.replace('PROXY', '127.0.0.1:1080'), 'the option proxy') as ForwardProxy
  const before = listeners(socket)
  void serve()
  const opening = openTunnel(socket, proxy, target)
  during?.(socket)
  const error = await settled(opening).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error !== undefined && !(error instanceof ProxyError)) throw error
  t.same(listeners(socket), socket.destroyed ? { ...before, error: before.error + 1 } : before, 'listeners')
  return { error, socket, received }
}

function listeners(socket: Socket) {
  const count = (event: string) => socket.listenerCount(event)
  return { readable: count('readable'), end: count('end'), close: count('close'), error: count('error') }
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const NO_LOGIN = hex('05 00')
const LOGIN = hex('05 02')
const OK = hex('05 00 00 01 7f000001 0cea')
/** with an address of each type */
const REPLIES = [OK, hex(`05 00 00 04 ${'00'.repeat(16)} 0cea`), hex('05 00 00 03 02 6162 0cea')]
/** of VER, CMD, RSV, ATYP, the length, the name and the port */
const REQUEST_BYTES = 7 + TARGET.host.length

test('SOCKS 5 without a password; the proxy gets the name, and bytes that follow stay in the socket', async t => {
  const steps: Step[] = [
    [3, NO_LOGIN],
    [REQUEST_BYTES, Buffer.concat([OK, Buffer.from('greeting')])],
  ]
  const { error, socket, received } = await open(t, 'socks5://PROXY', steps)
  t.equal(error, undefined)
  const name = Buffer.from(TARGET.host).toString('hex')
  t.equal(received.toString('hex'), `0501000501000${3}0f${name}0cea`)
  t.equal((await takeBytes(socket, 8)).toString(), 'greeting')
})

test('HTTP CONNECT, with and without a password; bytes that follow stay in the socket', async t => {
  const request = ['CONNECT nlb.example.com:3306 HTTP/1.1', 'Host: nlb.example.com:3306']
  const login = `Proxy-Authorization: Basic ${Buffer.from('us@er:hunter2').toString('base64')}`
  for (const [url, lines] of [
    ['http://PROXY', request],
    ['http://us%40er:hunter2@PROXY', [...request, login]],
  ] as const) {
    const expected = [...lines, '', ''].join('\r\n')
    const steps: Step[] = [[expected.length, 'HTTP/1.1 200 OK\r\n\r\ngreeting']]
    const { error, socket, received } = await open(t, url, steps)
    t.equal(error, undefined)
    t.equal(received.toString(), expected)
    t.equal((await takeBytes(socket, 8)).toString(), 'greeting')
  }
})

test('SOCKS 5 with a password', async t => {
  const steps: Step[] = [
    [4, LOGIN],
    [3 + 5 + 7, hex('01 00')],
    [REQUEST_BYTES, OK],
  ]
  const { error, received } = await open(t, 'socks5://us%40er:hunter2@PROXY', steps)
  t.equal(error, undefined)
  t.equal(received.subarray(0, 19).toString('latin1'), '\x05\x02\x00\x02\x01\x05us@er\x07hunter2')
})

test('SOCKS 5: addresses in requests and replies', async t => {
  const targets: [host: string, request: string][] = [
    ['10.1.2.3', '0501000 1 0a010203 0cea'],
    ['fd00::1:2', '05010004 fd000000000000000000000000010002 0cea'],
    ['::1', '05010004 00000000000000000000000000000001 0cea'],
    ['1:2:3:4:5:6:7:8', '05010004 00010002000300040005000600070008 0cea'],
    ['fe80::1%2', '05010003 09 666538303a3a312532 0cea'],
  ]
  for (const [host, request] of targets) {
    const bytes = hex(request)
    for (const reply of REPLIES) {
      const steps: Step[] = [
        [3, NO_LOGIN],
        [bytes.length, Buffer.concat([reply, Buffer.from('!')])],
      ]
      const { error, socket, received } = await open(t, 'socks5://PROXY', steps, { target: { host, port: 3306 } })
      t.equal(error, undefined, host)
      t.same(received.subarray(3), bytes, host)
      t.equal((await takeBytes(socket, 1)).toString(), '!', 'the whole reply was read')
    }
  }
})

test('SOCKS 5: a name that does not fit into a request is an error, not a request for another name', async t => {
  const target = { host: `${'a'.repeat(300)}.example`, port: 3306 }
  const { error, received } = await open(t, 'socks5://PROXY', [[3, NO_LOGIN]], { target })
  t.match(error, { code: 'FORWARD_PROXY_TARGET', message: /: name too long$/ })
  t.equal(received.length, 3, 'no request')

  const longest = { host: 'a'.repeat(255), port: 3306 }
  const steps: Step[] = [
    [3, NO_LOGIN],
    [7 + 255, OK],
  ]
  t.equal((await open(t, 'socks5://PROXY', steps, { target: longest })).error, undefined)
  const longer = { host: 'a'.repeat(256), port: 3306 }
  t.match((await open(t, 'socks5://PROXY', steps, { target: longer })).error, { message: /: name too long$/ })
})

/** The steps of a script that reads `bytes` and answers byte by byte. */
function inPieces(bytes: number, answer: Buffer): Step[] {
  return [...answer].map((byte, at) => [at === 0 ? bytes : 0, Buffer.from([byte])])
}

test('an answer in pieces', async t => {
  for (const reply of REPLIES) {
    const steps = [
      ...inPieces(4, LOGIN),
      ...inPieces(14, hex('01 00')),
      ...inPieces(REQUEST_BYTES, Buffer.concat([reply, Buffer.from('!')])),
    ]
    const { error, socket } = await open(t, 'socks5://user:hunter2@PROXY', steps)
    t.equal(error, undefined)
    t.equal((await takeBytes(socket, 1)).toString(), '!')
  }
  const http: Step[] = [
    [20, 'HTT'],
    [0, 'P/1.0 200 OK\r\nserver: x\r'],
    [0, '\n\r'],
    [0, '\n'],
  ]
  t.equal((await open(t, 'http://PROXY', http)).error, undefined)
})

test('answers that come early are not lost', async t => {
  const early = Buffer.concat([LOGIN, hex('01 00'), REPLIES[2]!, Buffer.from('!')])
  const steps: Step[] = [
    [4, early],
    [14, ''],
    [REQUEST_BYTES, ''],
  ]
  const { error, socket } = await open(t, 'socks5://user:hunter2@PROXY', steps)
  t.equal(error, undefined)
  t.equal((await takeBytes(socket, 1)).toString(), '!')
})

test('what a proxy refuses', async t => {
  const reply = (code: string): Step[] => [
    [3, NO_LOGIN],
    [REQUEST_BYTES, hex(`05 ${code} 00 01 00000000 0000`)],
  ]
  const target = 'nlb.example.com:3306'
  const cases: [url: string, steps: Step[], code: string, says: string][] = [
    ['socks5://PROXY', reply('01'), 'FORWARD_PROXY_TARGET', `cannot connect to ${target}: general failure`],
    [
      'socks5://PROXY',
      reply('02'),
      'FORWARD_PROXY_REFUSED',
      `refuses the connection to ${target}: not allowed by its rules`,
    ],
    ['socks5://PROXY', reply('03'), 'FORWARD_PROXY_TARGET', 'network unreachable'],
    ['socks5://PROXY', reply('04'), 'FORWARD_PROXY_TARGET', 'host unreachable'],
    ['socks5://PROXY', reply('05'), 'FORWARD_PROXY_TARGET', 'connection refused'],
    ['socks5://PROXY', reply('06'), 'FORWARD_PROXY_TARGET', 'TTL expired'],
    ['socks5://PROXY', reply('07'), 'FORWARD_PROXY_REFUSED', 'CONNECT not supported'],
    ['socks5://PROXY', reply('08'), 'FORWARD_PROXY_REFUSED', 'type of address not supported'],
    ['socks5://PROXY', reply('5b'), 'FORWARD_PROXY_TARGET', 'reply 91'],
    ['socks5://PROXY', [[3, hex('05 ff')]], 'FORWARD_PROXY_AUTHENTICATION', 'requires a user and password'],
    ['socks5://PROXY', [[3, hex('05 02')]], 'FORWARD_PROXY_FAILED', 'does not answer as a SOCKS 5 proxy'],
    ['socks5://PROXY', [[3, hex('04 00')]], 'FORWARD_PROXY_FAILED', 'does not answer as a SOCKS 5 proxy'],
    ['socks5://PROXY', [[3, 'HTTP/1.1 400']], 'FORWARD_PROXY_FAILED', 'does not answer as a SOCKS 5 proxy'],
    ['socks5://PROXY', [[3, '']], 'FORWARD_PROXY_FAILED', 'closed the connection'],
    ['socks5://PROXY', [[3, NO_LOGIN]], 'FORWARD_PROXY_FAILED', 'closed the connection'],
    [
      'socks5://user:hunter2@PROXY',
      [[4, hex('05 ff')]],
      'FORWARD_PROXY_AUTHENTICATION',
      'rejects the user or password',
    ],
    [
      'socks5://user:hunter2@PROXY',
      [
        [4, LOGIN],
        [14, hex('01 01')],
      ],
      'FORWARD_PROXY_AUTHENTICATION',
      'rejects the user or password',
    ],
    [
      'socks5://user:hunter2@PROXY',
      [
        [4, LOGIN],
        [14, ''],
      ],
      'FORWARD_PROXY_AUTHENTICATION',
      'rejects the user or password',
    ],
    [
      'http://PROXY',
      [[20, 'HTTP/1.1 407 Auth\r\n\r\n']],
      'FORWARD_PROXY_AUTHENTICATION',
      'requires a user and password: 407 Auth',
    ],
    [
      'http://user:hunter2@PROXY',
      [[20, 'HTTP/1.1 407\r\n\r\n']],
      'FORWARD_PROXY_AUTHENTICATION',
      'rejects the user or password: 407',
    ],
    [
      'http://user:hunter2@PROXY',
      [[20, 'HTTP/1.1 401 Unauthorized\r\n\r\n']],
      'FORWARD_PROXY_AUTHENTICATION',
      'rejects the user or password: 401 Unauthorized',
    ],
    ['http://PROXY', [[20, 'HTTP/1.1 300\r\n\r\n']], 'FORWARD_PROXY_REFUSED', ': 300'],
    [
      'http://PROXY',
      [[20, `HTTP/1.1 400 ${'x'.repeat(70)}\r\n\r\n`]],
      'FORWARD_PROXY_REFUSED',
      `: 400 ${'x'.repeat(60)}`,
    ],
    [
      'http://PROXY',
      [[20, 'HTTP/1.1 403 No\x1b[31m\r\n\r\n']],
      'FORWARD_PROXY_REFUSED',
      `refuses the connection to ${target}: 403 No[31m`,
    ],
    [
      'http://PROXY',
      [[20, 'HTTP/1.0 500 Unable\r\n\r\n']],
      'FORWARD_PROXY_TARGET',
      `cannot connect to ${target}: 500 Unable`,
    ],
    ['http://PROXY', [[20, hex('05 00')]], 'FORWARD_PROXY_FAILED', 'does not answer as an HTTP proxy'],
    ['http://PROXY', [[20, 'HTTP/1.1 no\r\n\r\n']], 'FORWARD_PROXY_FAILED', 'does not answer as an HTTP proxy'],
    ['http://PROXY', [[20, 'HTTP/1.1 2000\r\n\r\n']], 'FORWARD_PROXY_FAILED', 'does not answer as an HTTP proxy'],
    ['http://PROXY', [[20, 'HTTP/1.1 no HTTP/1.1 200\r\n\r\n']], 'FORWARD_PROXY_FAILED', 'an HTTP proxy'],
    ['http://PROXY', [[20, 'HTTP/1.1 200 '.padEnd(16_384, 'x')]], 'FORWARD_PROXY_FAILED', 'closed the connection'],
    ['http://PROXY', [[20, 'HTTP/1.1 200 '.padEnd(16_385, 'x')]], 'FORWARD_PROXY_FAILED', 'an HTTP proxy'],
    ['http://PROXY', [[20, 'HTTP/1.1 200']], 'FORWARD_PROXY_FAILED', 'closed the connection'],
  ]
  for (const [url, steps, code, says] of cases) {
    const { error } = await open(t, url, steps)
    t.equal(error?.code, code, says)
    const text = `${error?.message} ${error && hintFor(error, {})}`
    t.ok(error?.message.endsWith(says), `${says}: ${text}`)
    t.match(text, /the proxy (socks5|http):\/\/127\.0\.0\.1:\d+ /)
    t.notMatch(text, /hunter2|user:/)
  }
})

test('a proxy that is silent until the deadline', async t => {
  const timeout = Object.assign(new Error('too late'), { code: 'ETIMEDOUT' })
  const during = (socket: Socket) => {
    void setImmediate().then(() => socket.destroy(timeout))
  }
  const silent = await open(t, 'socks5://PROXY', [], { stays: true, during })
  t.match(silent.error, { code: 'FORWARD_PROXY_FAILED', message: /does not answer in time/ })
  const slow = await open(t, 'http://PROXY', [], { stays: true, during })
  t.match(slow.error, {
    code: 'FORWARD_PROXY_TARGET',
    message: /has not connected to nlb\.example\.com:3306 in time/,
  })
  const afterRequest = (socket: Socket) => {
    void (async () => {
      for (let turn = 0; turn < 20; turn++) await setImmediate()
      socket.destroy(timeout)
    })()
  }
  const steps: Step[] = [
    [3, NO_LOGIN],
    [REQUEST_BYTES, ''],
  ]
  t.match((await open(t, 'socks5://PROXY', steps, { stays: true, during: afterRequest })).error, {
    code: 'FORWARD_PROXY_TARGET',
    message: /has not connected to nlb\.example\.com:3306 in time/,
  })
  const reset = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
  const broken = await open(t, 'http://PROXY', [], {
    stays: true,
    during: socket => void setImmediate().then(() => socket.destroy(reset)),
  })
  t.match(broken.error, { code: 'FORWARD_PROXY_FAILED', message: /closed the connection \(ECONNRESET\)/ })
})

test('a connection that has just failed: its error ends nothing but the tunnel', async t => {
  const [socket] = createMemoryPair(t)
  socket.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
  const proxy = readForwardProxy('socks5://127.0.0.1:1080', 'the option proxy') as ForwardProxy
  const error = { code: 'FORWARD_PROXY_FAILED', message: /\(ECONNRESET\)$/ }
  await t.rejects(openTunnel(socket, proxy, TARGET), error)
  await setImmediate()
  t.ok(socket.closed)
  await t.rejects(openTunnel(socket, proxy, TARGET), error, 'also after the last event')
})

test('the URL of a proxy', t => {
  const read = (text: string) => readForwardProxy(text, 'x')
  t.match(read('socks5h://a:b%3A@proxy.corp'), {
    protocol: 'socks5',
    host: 'proxy.corp',
    port: 1080,
    user: 'a',
    password: 'b:',
  })
  t.match(read('http://[fd00::1]:3128'), { host: 'fd00::1', port: 3128, shown: 'http://[fd00::1]:3128' })
  t.match(read('http://user@proxy/'), { user: 'user', password: '', port: 80 })
  const long = 'x'.repeat(256)
  for (const text of [
    '',
    'proxy',
    'proxy:1',
    'socks5://',
    'socks4://a',
    'socks5://a:1/x',
    'http://a?b',
    `socks5://${long}:p@a`,
    'socks5://user@a',
  ]) {
    t.equal(read(text), undefined, text)
  }
  t.end()
})

test('hosts that need no proxy', t => {
  for (const host of ['localhost', 'a.localhost', '127.1.2.3', '169.254.169.254', '[::1]', 'fe80::1'])
    t.ok(isLocalHost(host), host)
  for (const host of ['localhost.example', '10.0.0.1', '1127.0.0.1', 'fd00::1', '::2', '127.example'])
    t.notOk(isLocalHost(host), host)
  t.end()
})
