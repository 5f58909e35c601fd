/** Processor time of a login: a figure that other work on the machine disturbs less than times. */
import { inChild } from './child.ts'
import { compare, number } from './compare.ts'
import type { LoginsTask } from './line-cpu-client.ts'
import { type PeerSettings, startBareProxy, usageOf } from './peers.ts'

const LOGINS = 2_000

export async function loginCpu(settings: PeerSettings, runs: number): Promise<string> {
  return await compare(
    {
      title: `login-cpu: processor time of a login, from ${number(LOGINS)} logins in sequence with a light client`,
      columns: [
        {
          head: 'CPU ms',
          measure: async ({ route, pid }) => {
            if (!pid) return { value: Number.NaN }
            const task: LoginsTask = { route: route!, count: LOGINS }
            const before = usageOf(pid).cpuSeconds
            await inChild(new URL('line-cpu-client.ts', import.meta.url), task)
            return { value: ((usageOf(pid).cpuSeconds - before) / LOGINS) * 1_000 }
          },
        },
      ],
      cell: value => value,
      runs,
    },
    settings,
    [startBareProxy],
  )
}
