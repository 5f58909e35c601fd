/** Serves until its standard input ends. The test logs in. */
import { createProxy } from 'mysql-iam-proxy'

const proxy = createProxy({ ...JSON.parse(process.env['PROXY_OPTIONS']), listen: '127.0.0.1:0' })
const { port } = await proxy.listen()
console.log(port)
process.stdin.on('end', () => proxy.close()).resume()
