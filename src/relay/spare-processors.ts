/**
 * Whether busy-polling is worth its processor time here: not with one processor or a small quota, not on battery, and not
 * while the process is throttled. On Linux only: elsewhere Node.js sees the number of processors and nothing else.
 * https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu, https://docs.kernel.org/scheduler/sched-bwc.html (v1),
 * https://docs.kernel.org/power/power_supply_class.html
 */
import { readdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { posix } from 'node:path'

/** What is read of the machine. Both reject for what does not exist. */
export interface Machine {
  processors(): number
  read(file: string): Promise<string>
  list(directory: string): Promise<string[]>
}

const thisMachine: Machine = {
  processors: availableParallelism,
  read: file => readFile(file, 'utf8'),
  list: directory => readdir(directory),
}

const CGROUPS = '/sys/fs/cgroup'
const POWER_SUPPLIES = '/sys/class/power_supply'

/** How long an answer of the gate counts. */
const LOOK_AGAIN_MS = 10_000

/** How long a throttled process does without busy-polling. */
const THROTTLED_MS = 60_000

/** Whether a CPU is spare: two or more, and no quota of a control group below two. */
export async function hasProcessorsToSpare(machine = thisMachine): Promise<boolean> {
  return Math.min(machine.processors(), await cpuQuota(machine)) >= 2
}

/** Whether to busy-poll at the moment. */
export interface BusyPollGate {
  /** The last answer. Looks again in the background if that is old. @param now monotonic, in milliseconds */
  isOpen(now: number): boolean
}

export function createBusyPollGate(machine = thisMachine): BusyPollGate {
  let open = true
  let nextLook = Number.NEGATIVE_INFINITY
  let throttledUntil = Number.NEGATIVE_INFINITY
  let periodsBefore: number | undefined
  const look = async (now: number) => {
    const [onBattery, periods] = await Promise.all([isOnBattery(machine), throttledPeriods(machine)])
    // The count is as old as the group. Only what is new says something about this process.
    if (periods > (periodsBefore ?? periods)) throttledUntil = now + THROTTLED_MS
    periodsBefore = periods
    open = !onBattery && now >= throttledUntil
  }
  return {
    isOpen(now) {
      if (now >= nextLook) {
        nextLook = now + LOOK_AGAIN_MS
        void look(now)
      }
      return open
    },
  }
}

/** CPUs that this process may use: the smallest quota of its control group and of those around it. */
async function cpuQuota(machine: Machine): Promise<number> {
  const quotas = await ofGroups(machine, async (directory, version) => {
    const read = async (name: string) => (await machine.read(`${directory}/${name}`)).trim()
    const [quota, period] =
      version === 2
        ? (await read('cpu.max')).split(' ')
        : [await read('cpu.cfs_quota_us'), await read('cpu.cfs_period_us')]
    const cpus = Number(quota) / Number(period)
    return cpus > 0 ? cpus : Number.POSITIVE_INFINITY // "max", or -1 in v1
  })
  return Math.min(...quotas)
}

/** In how many periods this process's control group, or one around it, has used up its quota. */
async function throttledPeriods(machine: Machine): Promise<number> {
  const periods = await ofGroups(machine, async directory => {
    const stat = await machine.read(`${directory}/cpu.stat`)
    return Number(/^nr_throttled (\d+)$/m.exec(stat)?.[1] ?? 0)
  })
  return periods.reduce((sum, count) => sum + count, 0)
}

/**
 * Reads a number in the control group of this process and in each one around it. Those that do not exist are left out, as a
 * container may see the path of its host.
 */
async function ofGroups(
  { read }: Machine,
  work: (directory: string, version: 1 | 2) => Promise<number>,
): Promise<number[]> {
  const lines = (await read('/proc/self/cgroup').catch(() => '')).split('\n').map(line => line.split(':'))
  const v1 = lines.find(([, controllers]) => controllers?.split(',').includes('cpu'))
  const own = v1 ?? lines.find(([hierarchy]) => hierarchy === '0')
  if (!own) return []
  const root = v1 ? `${CGROUPS}/cpu` : CGROUPS
  const directories: string[] = []
  for (let path = posix.join('/', own.slice(2).join(':')); path !== '/'; path = posix.dirname(path)) {
    directories.push(root + path)
  }
  directories.push(root)
  const found = await Promise.all(directories.map(directory => work(directory, v1 ? 1 : 2).catch(() => undefined)))
  return found.filter(number => number !== undefined)
}

/** Whether a battery supplies this machine. A desktop has no battery, or one of a mouse (scope "Device"). */
async function isOnBattery({ list, read }: Machine): Promise<boolean> {
  const names = await list(POWER_SUPPLIES).catch(() => [])
  const states = await Promise.all(
    names.map(async name => {
      const value = (file: string) =>
        read(`${POWER_SUPPLIES}/${name}/${file}`).then(
          text => text.trim(),
          () => '',
        )
      if ((await value('scope')) === 'Device') return ''
      if ((await value('type')) !== 'Battery') return (await value('online')) === '1' ? 'plugged in' : ''
      return await value('status')
    }),
  )
  return states.includes('Discharging') && !states.includes('plugged in')
}
