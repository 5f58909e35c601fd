/** npm run status-cost: how long requests of the status page keep the event loop, with 10,000 sessions in all. */
import { createActivities } from '../src/admin/activity.ts'
import { createHistory } from '../src/admin/history.ts'
import { pageStatus, readStatusQuery } from '../src/admin/status.ts'
import { installClose } from '../src/proxy/end-session.ts'
import { createFlow } from '../src/relay/relay.ts'
import { addSession, makeState } from '../test/support/states.ts'

const SESSIONS = 10_000
const ROUNDS = 30
const REQUESTS = [
  '',
  'sort=user',
  'sort=client&filter=app',
  'sort=status',
  'status=in+a+transaction&sort=quiet',
  'filter=app_1+java&sort=rate&rows=1000',
]

const OK_IN_TRANSACTION = [7, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]
const state = makeState()
for (let i = 0; i < SESSIONS; i++) {
  const traffic = createFlow()
  // A third ends in bytes that are no OK_Packet: they take the longest to look at.
  traffic.lastBytes = Buffer.alloc(256, 1)
  if (i % 3 > 0) traffic.lastBytes.set(OK_IN_TRANSACTION, 256 - OK_IN_TRANSACTION.length)
  const client = `10.${i % 7}.${i >> 8}.${i % 256}`
  const session = addSession(state, { user: `app_${i % 97}`, program: 'mysql-connector-java', client, traffic })
  const sockets = {} as Parameters<typeof installClose>[0]['client']
  installClose({ session, flow: traffic, client: sockets, upstream: sockets, compressed: false })
}

const history = createHistory(0)
const activities = createActivities()
/** Processor time, in milliseconds: other programs on the machine do not change it. */
const times = new Map<string, number[]>()
function measure(what: string, work: () => void): void {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  times.set(what, [...(times.get(what) ?? []), (user + system) / 1_000])
}

for (let round = 0; round < ROUNDS; round++) {
  const uptime = round * 2_000
  measure('sampling, every two seconds', () => {
    history.tick([state], uptime)
    activities.tick([state], uptime)
  })
  const facts = {
    version: '',
    uptime,
    isReady: true,
    notReady: [],
    busy: 0,
    sessionsLimit: undefined,
    drainingSessions: 0,
    mayClose: true,
  }
  for (const request of REQUESTS) {
    const query = readStatusQuery(new URLSearchParams(request))
    measure(`/api/status?${request}`, () => JSON.stringify(pageStatus([state], { history, activities }, facts, query)))
  }
}
process.stdout.write('| request | first, ms | median, ms | longest, ms |\n| --- | --- | --- | --- |\n')
for (const [what, all] of times) {
  const sorted = all.toSorted((left, right) => left - right)
  const figures = [all[0], sorted[sorted.length >> 1], sorted.at(-1)].map(value => value?.toFixed(1))
  process.stdout.write(`| \`${what}\` | ${figures.join(' | ')} |\n`)
}
