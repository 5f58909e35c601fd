/** Whether an address still belongs to this machine. A TCP connection cannot outlive its local address. */
import { createSocket } from 'node:dgram'
import { isIPv6, type Socket } from 'node:net'
import { withoutMapping } from '../address.ts'
import { systemCode } from '../errors.ts'

/** The local address of a socket as `os.networkInterfaces` writes it; undefined if it is not connected by TCP. */
export function localAddressOf({ localAddress }: Socket): string | undefined {
  return localAddress === undefined ? undefined : withoutMapping(localAddress).replace(/%.*$/, '')
}

/**
 * Whether the system lets a socket have this address. An interface without a signal is not listed, but keeps its address. False
 * only if the address is surely gone.
 */
export function isAddressOfThisMachine(address: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const settle = (isOurs: boolean) => {
      socket.close()
      resolve(isOurs)
    }
    socket.on('error', error => settle(systemCode(error) !== 'EADDRNOTAVAIL'))
    socket.bind({ address, port: 0, exclusive: true }, () => settle(true))
  })
}
