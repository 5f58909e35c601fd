import { test } from 'tap'
import { parse } from 'yaml'
import { addEndpoints, entryText, isWithoutContent, removeEndpoint } from '../../src/config/edit.ts'

const SHOP = { name: 'shop', 'rds-endpoint': 'shop.example', listen: '127.0.0.1:3308' }
const ITEM = `  - name: shop
    rds-endpoint: shop.example
    listen: 127.0.0.1:3308
`

const WITH_COMMENTS = `# head
log-level: warn        # aligned with nothing

endpoints:
  # about orders
  - name: orders       # the first
    rds-endpoint: orders.example
    allow-from:
      - 10.0.0.0/8

  # about reports
  - name: reports
    rds-endpoint: "reports.example"   # quoted
    # user: later

# tail
keepalive: 5s
`

test('a new file', async t => {
  t.equal(addEndpoints(undefined, [SHOP]), `endpoints:\n${ITEM}`)
  const two = addEndpoints('', [SHOP, { name: 'b', 'rds-endpoint': 'b.example', ca: ['/a.pem', '/b.pem'] }])
  t.equal(
    two,
    `endpoints:\n${ITEM}
  - name: b
    rds-endpoint: b.example
    ca:
      - /a.pem
      - /b.pem
`,
  )
})

test('an endpoint more: every other byte stays', async t => {
  const [before, after] = WITH_COMMENTS.split(/(?<=# user: later\n)/)
  t.equal(addEndpoints(WITH_COMMENTS, [SHOP]), `${before}\n${ITEM}${after}`)
})

test('the style of the list is kept', async t => {
  const narrow = 'endpoints:\n- rds-endpoint: a.example\n- rds-endpoint: b.example'
  t.equal(addEndpoints(narrow, [SHOP]), `${narrow}\n${ITEM.replace(/^ {2}/gm, '')}`, 'no indentation, no blank lines')
  const windows = 'endpoints:\r\n  - rds-endpoint: a.example\r\n'
  t.equal(addEndpoints(windows, [SHOP]), `${windows}\r\n${ITEM.replaceAll('\n', '\r\n')}`)
  const flow = 'endpoints:\n  - { rds-endpoint: a.example } # one line\n'
  t.equal(addEndpoints(flow, [SHOP]), `${flow}\n${ITEM}`)
})

test('no endpoints yet', async t => {
  t.equal(addEndpoints('log-level: warn', [SHOP]), `log-level: warn\n\nendpoints:\n${ITEM}`)
  t.equal(addEndpoints('# only a comment\n', [SHOP]), `# only a comment\n\nendpoints:\n${ITEM}`)
  t.equal(addEndpoints('endpoints:\nuser: app\n', [SHOP]), `endpoints:\n${ITEM}user: app\n`)
  t.equal(addEndpoints('endpoints: [] # none\n', [SHOP]), `endpoints: # none\n${ITEM}`)
  t.equal(addEndpoints('endpoints: []', [SHOP]), `endpoints:\n${ITEM}`)
})

test('a list in one line', async t => {
  const text = addEndpoints('# head\nendpoints: [{ rds-endpoint: a.example }]\n', [SHOP])
  t.same(parse(text), { endpoints: [{ 'rds-endpoint': 'a.example' }, SHOP] })
  t.match(text, /^# head\n/)
  const anchored = addEndpoints('{ log-level: warn }\n', [SHOP])
  t.same(parse(anchored), { 'log-level': 'warn', endpoints: [SHOP] })
})

test('line ends of Windows stay, also where the list stands in one line and in JSON', async t => {
  for (const text of ['endpoints: [{ rds-endpoint: a.example }]\r\n', '{\r\n  "endpoints": []\r\n}\r\n']) {
    const changed = addEndpoints(text, [SHOP])
    t.match(changed, 'shop.example')
    t.notMatch(changed, /[^\r]\n/)
  }
})

test('JSON stays JSON', async t => {
  const before = { endpoints: [{ 'rds-endpoint': 'a.example' }] }
  const text = addEndpoints(JSON.stringify(before, null, 4), [SHOP])
  t.equal(text, `${JSON.stringify({ endpoints: [...before.endpoints, SHOP] }, null, 4)}\n`)
  t.equal(removeEndpoint(text, 'shop'), `${JSON.stringify(before, null, 4)}\n`)
  t.same(JSON.parse(addEndpoints('{}', [SHOP])), { endpoints: [SHOP] })
})

test('values that need quotes', async t => {
  const entry = { name: 'a', tunnel: "ssh -N -L {localPort}:{host}:{port} 'my host' # x", user: '007', 'ca-only': true }
  t.same(parse(addEndpoints(undefined, [entry])), { endpoints: [entry] })
})

test('removing undoes adding', async t => {
  for (const text of [WITH_COMMENTS, 'endpoints:\n- rds-endpoint: a.example\n', 'endpoints:\r\n  - name: a\r\n']) {
    t.equal(removeEndpoint(addEndpoints(text, [SHOP]), 'shop'), text)
  }
  t.equal(removeEndpoint(addEndpoints(undefined, [SHOP]), 'shop'), 'endpoints: []\n')
})

test('removing keeps every other byte', async t => {
  const without = removeEndpoint(WITH_COMMENTS, 'orders')
  const gone = /(?<=# about orders\n)[\s\S]*?(?=\n {2}# about reports)/.exec(WITH_COMMENTS)![0]
  t.equal(without, WITH_COMMENTS.replace(gone, ''))
  const [head, , , , , , tail] = WITH_COMMENTS.split(/(endpoints:| {2}# about orders| {2}# about reports)/)
  const empty = removeEndpoint(without, 'reports')
  t.match(empty, /^# head\n.*\n\nendpoints: \[\]\n {2}# about orders\n\n {2}# about reports\n/)
  t.ok(empty.startsWith(head!))
  t.ok(empty.endsWith(tail!.slice(tail!.indexOf('\n\n# tail') + 1)))
  t.same(parse(removeEndpoint('endpoints: [{ name: a }, { name: b }]\n', 'a')), { endpoints: [{ name: 'b' }] })
  t.equal(removeEndpoint('endpoints:\n  - rds-endpoint: a.example\n', 'a.example'), 'endpoints: []\n', 'without a name')
})

test('the text of one endpoint', async t => {
  t.equal(entryText(WITH_COMMENTS, 'reports'), '- name: reports\n  rds-endpoint: reports.example\n')
  t.equal(entryText(WITH_COMMENTS, 'none'), undefined)
  t.equal(entryText('', 'none'), undefined)
})

test('a file without content', async t => {
  t.ok(isWithoutContent('endpoints: []\n'))
  t.notOk(isWithoutContent('# mine\nendpoints: []\n'))
  t.notOk(isWithoutContent('user: app\nendpoints: []\n'))
  t.notOk(isWithoutContent(WITH_COMMENTS))
})
