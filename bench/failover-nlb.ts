/** A TCP load balancer for bench/failover.ts. Its targets are those of the stand-in for ELB, with the health checks of an NLB. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type ElbStandIn, type StandInTarget, settle } from '../test/support/elb.ts'

export interface HealthCheck {
  /** milliseconds */
  interval: number
  timeout: number
  /** number of equal results in a row that change the state of a target */
  threshold: number
}

export interface LoadBalancer {
  port: number
  close(): Promise<void>
}

export async function startLoadBalancer(elb: ElbStandIn, check: HealthCheck): Promise<LoadBalancer> {
  const streaks = new WeakMap<StandInTarget, number>()
  const open = new Map<Socket, StandInTarget>()
  let turn = 0

  const server = createServer({ noDelay: true, allowHalfOpen: true }, client => {
    client.on('error', () => client.destroy())
    const target = choose()
    if (!target) {
      client.destroy()
      return
    }
    const upstream = connect({ host: target.address, port: target.port, noDelay: true, allowHalfOpen: true })
    open.set(client, target)
    upstream.on('error', () => client.destroy())
    client.on('close', () => {
      open.delete(client)
      upstream.destroy()
    })
    upstream.on('close', () => client.destroy())
    client.pipe(upstream).pipe(client)
  })

  /** A healthy target. Without any, the load balancer fails open and uses unhealthy ones. */
  function choose(): StandInTarget | undefined {
    const healthy = elb.targets.filter(({ state }) => state === 'healthy')
    const usable = healthy.length > 0 ? healthy : elb.targets.filter(({ state }) => state === 'unhealthy')
    return usable[turn++ % usable.length]
  }

  async function checkAll(): Promise<void> {
    await Promise.all(
      elb.targets.map(async target => {
        const isUp = await answers(target, check.timeout)
        const before = streaks.get(target) ?? 0
        const streak = isUp ? Math.max(before, 0) + 1 : Math.min(before, 0) - 1
        streaks.set(target, streak)
        if (target.state === 'draining') return
        if (streak >= check.threshold) settle(target, 'healthy')
        if (streak > -check.threshold) return
        settle(target, 'unhealthy')
        // An NLB resets the connections of a target that becomes unhealthy.
        for (const [client, of] of open) if (of === target) client.resetAndDestroy()
      }),
    )
  }

  const timer = setInterval(checkAll, check.interval)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      clearInterval(timer)
      for (const client of open.keys()) client.destroy()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

function answers({ address, port }: StandInTarget, timeout: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host: address, port })
    const settleAs = (isUp: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(isUp)
    }
    const timer = setTimeout(() => settleAs(false), timeout)
    socket.on('connect', () => settleAs(true)).on('error', () => settleAs(false))
  })
}
