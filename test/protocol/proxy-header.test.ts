import { test } from 'tap'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { MAX_V2_BYTES, parseProxyHeader, startsLikeProxyHeader } from '../../src/protocol/proxy-header.ts'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

const v1 = (line: string) => Buffer.from(`${line}\r\n`, 'latin1')

function v2(versionAndCommand: number, familyAndTransport: number, ...body: Buffer[]): Buffer {
  const rest = Buffer.concat(body)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(rest.length)
  return Buffer.concat([SIGNATURE, Buffer.of(versionAndCommand, familyAndTransport), length, rest])
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const IPV4 = hex('c0a80001 0a000002 d431 0cea')
const IPV6 = hex('20010db8000000000000000000000001 fd000000000000000000000000000002 d431 0cea')
const MAPPED = hex('00000000000000000000ffff0a000009 00000000000000000000ffff0a00000a d431 0cea')
const UNIX = Buffer.concat([Buffer.from('/run/client'), Buffer.alloc(205)])

/** PP2_TYPE_AWS with PP2_SUBTYPE_AWS_VPCE_ID, and PP2_TYPE_NOOP, as a Network Load Balancer sends them. */
const AWS_TLV = Buffer.concat([hex('ea0017 01'), Buffer.from('vpce-08d2bf15fac5001c9'), hex('04 0003 000000')])

const cases: [name: string, header: Buffer, client: string | undefined][] = [
  ['version 1, IPv4', v1('PROXY TCP4 192.168.0.1 10.0.0.2 56324 3306'), '192.168.0.1'],
  ['version 1, the longest IPv4', v1('PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535'), '255.255.255.255'],
  ['version 1, IPv6', v1('PROXY TCP6 2001:db8::1 fd00::2 56324 3306'), '2001:db8::1'],
  ['version 1, IPv6 in another form', v1('PROXY TCP6 2001:0DB8:0:0:0:0:0:1 fd00::2 0 1'), '2001:db8::1'],
  ['version 1, IPv4 as IPv6', v1('PROXY TCP6 ::ffff:10.0.0.9 ::ffff:10.0.0.10 1 2'), '10.0.0.9'],
  ['version 1, unknown', v1('PROXY UNKNOWN'), undefined],
  ['version 1, unknown, with more to ignore', v1('PROXY UNKNOWN ffff::1 ffff::2 65535 65535'), undefined],
  ['version 2, IPv4', v2(0x21, 0x11, IPV4), '192.168.0.1'],
  ['version 2, IPv6', v2(0x21, 0x21, IPV6), '2001:db8::1'],
  ['version 2, IPv4 as IPv6', v2(0x21, 0x21, MAPPED), '10.0.0.9'],
  ['version 2, unix', v2(0x21, 0x31, UNIX), 'unix'],
  ['version 2, unspecified', v2(0x21, 0x00), undefined],
  ['version 2, local', v2(0x20, 0x00), undefined],
  ['version 2, local, with addresses to ignore', v2(0x20, 0x11, IPV4), undefined],
  ['version 2, with TLVs of AWS', v2(0x21, 0x11, IPV4, AWS_TLV), '192.168.0.1'],
  ['version 2, the longest', v2(0x21, 0x11, IPV4, Buffer.alloc(MAX_V2_BYTES - 16 - 12)), '192.168.0.1'],
]

for (const [name, header, client] of cases) {
  test(`a PROXY header: ${name}`, async t => {
    t.same(parseProxyHeader(header), { length: header.length, client })
    t.same(
      parseProxyHeader(Buffer.concat([header, Buffer.from('more')])),
      { length: header.length, client },
      'with more bytes behind it',
    )
    for (let length = 0; length < header.length; length++) {
      if (parseProxyHeader(header.subarray(0, length))) t.fail(`complete after ${length} bytes`)
    }
    t.ok(startsLikeProxyHeader(header))
  })
}

const invalid: [name: string, bytes: Buffer][] = [
  ['a MySQL packet', hex('2000000185a60300')],
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
  ['lower case', v1('proxy TCP4 1.2.3.4 1.2.3.4 1 2')],
  ['a byte of the signature', Buffer.concat([SIGNATURE.subarray(0, 11), Buffer.of(0x0b)])],
  ['version 1 without the end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`)],
  ['version 1, too long', v1(`PROXY UNKNOWN ${'x'.repeat(93)}`)],
  ['version 1, no protocol', v1('PROXY ')],
  ['version 1, another protocol', v1('PROXY UDP4 1.2.3.4 1.2.3.4 1 2')],
  ['version 1, IPv6 as TCP4', v1('PROXY TCP4 ::1 ::1 1 2')],
  ['version 1, IPv4 as TCP6', v1('PROXY TCP6 1.2.3.4 1.2.3.4 1 2')],
  ['version 1, an address out of range', v1('PROXY TCP4 256.2.3.4 1.2.3.4 1 2')],
  ['version 1, an address with leading zeros', v1('PROXY TCP4 010.2.3.4 1.2.3.4 1 2')],
  ['version 1, an invalid destination', v1('PROXY TCP4 1.2.3.4 x 1 2')],
  ['version 1, an IPv6 address with a zone', v1('PROXY TCP6 fe80::1%eth0 ::1 1 2')],
  ['version 1, two "::"', v1('PROXY TCP6 1::2::3 ::1 1 2')],
  ['version 1, a port out of range', v1('PROXY TCP4 1.2.3.4 1.2.3.4 65536 2')],
  ['version 1, a signed port', v1('PROXY TCP4 1.2.3.4 1.2.3.4 -1 2')],
  ['version 1, no port', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1')],
  ['version 1, three ports', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3')],
  ['version 1, two spaces', v1('PROXY TCP4  1.2.3.4 1.2.3.4 1 2')],
  ['version 3', v2(0x31, 0x11, IPV4)],
  ['version 2, another command', v2(0x22, 0x11, IPV4)],
  ['version 2, UDP', v2(0x21, 0x12, IPV4)],
  ['version 2, another family', v2(0x21, 0x41, IPV6)],
  ['version 2, addresses cut short', v2(0x21, 0x11, IPV4.subarray(1))],
  ['version 2, IPv6 with the addresses of IPv4', v2(0x21, 0x21, IPV4)],
  ['version 2, unix cut short', v2(0x21, 0x31, UNIX.subarray(1))],
  ['version 2, too long', v2(0x21, 0x11, IPV4, Buffer.alloc(MAX_V2_BYTES - 16 - 11))],
]

for (const [name, bytes] of invalid) {
  test(`an invalid PROXY header: ${name}`, async t => {
    t.throws(() => parseProxyHeader(bytes), MalformedPacket)
  })
}

test('a header that is too long is refused before all of it has come', async t => {
  t.throws(() => parseProxyHeader(v2(0x21, 0x11, Buffer.alloc(60_000)).subarray(0, 16)), MalformedPacket)
  t.throws(() => parseProxyHeader(Buffer.from('PROXY '.padEnd(107, 'x'))), MalformedPacket)
})

test('startsLikeProxyHeader', async t => {
  t.ok(startsLikeProxyHeader(Buffer.from('PROX')))
  t.ok(startsLikeProxyHeader(SIGNATURE.subarray(0, 4)))
  t.notOk(startsLikeProxyHeader(hex('20000001')))
  t.notOk(startsLikeProxyHeader(Buffer.from('POST')))
})
