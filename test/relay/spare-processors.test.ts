import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { createBusyPollGate, hasProcessorsToSpare, type Machine } from '../../src/relay/spare-processors.ts'

/** A machine with these files. */
function machine(files: Record<string, string>, processors = 8): Machine {
  return {
    processors: () => processors,
    async read(file) {
      const text = files[file]
      if (text === undefined) throw new Error(`ENOENT: ${file}`)
      return text
    },
    async list(directory) {
      const inside = Object.keys(files).filter(file => file.startsWith(`${directory}/`))
      if (inside.length === 0) throw new Error(`ENOENT: ${directory}`)
      return [...new Set(inside.map(file => file.slice(directory.length + 1).split('/')[0]!))]
    },
  }
}

const V2 = { '/proc/self/cgroup': '0::/system.slice/proxy.service\n' }
const V1 = { '/proc/self/cgroup': '9:name=systemd:/init.scope\n2:cpu,cpuacct:/system.slice/proxy.service\n0::/\n' }
const OWN_V2 = '/sys/fs/cgroup/system.slice/proxy.service'
const OWN_V1 = '/sys/fs/cgroup/cpu/system.slice/proxy.service'

const QUOTAS: [name: string, files: Record<string, string>, processors: number, isSpare: boolean][] = [
  ['no control groups, as on macOS and Windows', {}, 2, true],
  ['one processor', {}, 1, false],
  ['v2, no quota', { ...V2, [`${OWN_V2}/cpu.max`]: 'max 100000\n' }, 2, true],
  ['v2, CPUQuota=150% of the service', { ...V2, [`${OWN_V2}/cpu.max`]: '150000 100000\n' }, 8, false],
  ['v2, CPUQuota=200% of the service', { ...V2, [`${OWN_V2}/cpu.max`]: '200000 100000\n' }, 8, true],
  [
    'v2, a quota of the slice around it',
    {
      ...V2,
      [`${OWN_V2}/cpu.max`]: 'max 100000\n',
      '/sys/fs/cgroup/system.slice/cpu.max': '50000 100000\n',
    },
    8,
    false,
  ],
  [
    'v2, a container that sees its own group as the root',
    { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '100000 100000\n' },
    8,
    false,
  ],
  [
    'v2, outside of its root',
    { '/proc/self/cgroup': '0::/../other\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' },
    8,
    true,
  ],
  [
    'v1, no quota',
    { ...V1, [`${OWN_V1}/cpu.cfs_quota_us`]: '-1\n', [`${OWN_V1}/cpu.cfs_period_us`]: '100000\n' },
    8,
    true,
  ],
  [
    'v1, a quota of the service',
    { ...V1, [`${OWN_V1}/cpu.cfs_quota_us`]: '50000\n', [`${OWN_V1}/cpu.cfs_period_us`]: '100000\n' },
    8,
    false,
  ],
  [
    'v1, a container that sees the path of its host',
    { ...V1, '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '100000\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
    8,
    false,
  ],
]
for (const [name, files, processors, isSpare] of QUOTAS) {
  test(`processors to spare: ${name}`, async t => {
    t.equal(await hasProcessorsToSpare(machine(files, processors)), isSpare)
  })
}

test('this machine can be asked', async t => {
  t.type(await hasProcessorsToSpare(), 'boolean')
  t.equal(createBusyPollGate().isOpen(0), true, 'open until it has looked')
})

const supply = (name: string, values: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [`/sys/class/power_supply/${name}/${key}`, `${value}\n`]),
  )
const DISCHARGING = supply('BAT0', { type: 'Battery', status: 'Discharging' })

const POWER: [name: string, files: Record<string, string>, isOpen: boolean][] = [
  ['no power supplies', {}, true],
  ['a battery and no plug', { ...DISCHARGING, ...supply('AC', { type: 'Mains', online: '0' }) }, false],
  ['a battery alone', DISCHARGING, false],
  ['a plug that supplies too little', { ...DISCHARGING, ...supply('usb', { type: 'USB', online: '1' }) }, true],
  ['a battery that is full', supply('BAT0', { type: 'Battery', status: 'Full' }), true],
  ['the battery of a mouse', supply('hid', { type: 'Battery', status: 'Discharging', scope: 'Device' }), true],
]
for (const [name, files, isOpen] of POWER) {
  test(`busy-poll, power: ${name}`, async t => {
    const gate = createBusyPollGate(machine(files))
    t.equal(gate.isOpen(0), true, 'open until it has looked')
    await turn()
    t.equal(gate.isOpen(1), isOpen)
  })
}

test('busy-poll follows the plug, and looks every ten seconds', async t => {
  const files: Record<string, string> = { ...DISCHARGING, ...supply('AC', { type: 'Mains', online: '1' }) }
  let looks = 0
  const one = machine(files)
  const gate = createBusyPollGate({
    ...one,
    list: directory => {
      looks++
      return one.list(directory)
    },
  })
  const ask = async (now: number) => {
    gate.isOpen(now)
    await turn()
    return gate.isOpen(now)
  }
  t.equal(await ask(0), true)
  files['/sys/class/power_supply/AC/online'] = '0\n'
  t.equal(await ask(9_999), true, 'not looked again')
  t.equal(looks, 1)
  t.equal(await ask(10_000), false)
  t.equal(looks, 2)
  files['/sys/class/power_supply/AC/online'] = '1\n'
  t.equal(await ask(20_000), true)
})

for (const [version, group, own] of [
  ['v2', V2, OWN_V2],
  ['v1', V1, OWN_V1],
] as const) {
  test(`busy-poll pauses for a minute while the process is throttled, ${version}`, async t => {
    const stat = (periods: number) => `nr_periods 1000\nnr_throttled ${periods}\nthrottled_usec 5\n`
    const files: Record<string, string> = { ...group, [`${own}/cpu.stat`]: stat(700) }
    const gate = createBusyPollGate(machine(files))
    const ask = async (now: number) => {
      gate.isOpen(now)
      await turn()
      return gate.isOpen(now)
    }
    t.equal(await ask(0), true, 'what happened before says nothing')
    t.equal(await ask(10_000), true)
    files[`${own}/cpu.stat`] = stat(701)
    t.equal(await ask(20_000), false)
    t.equal(await ask(70_000), false)
    t.equal(await ask(80_000), true)
    files[`${own}/cpu.stat`] = 'usage_usec 1\n'
    t.equal(await ask(90_000), true, 'a group without a quota has no such count')
  })
}
