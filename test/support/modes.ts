/**
 * Modes of a test run, in which clients see no difference: TEST_COMPRESS=zstd (or zlib) and TEST_PREPARED=2 run any test with
 * `--compress` and `--prepared-connections`.
 */
import type { ProxyOptions } from '../../src/proxy/proxy.ts'

const { TEST_COMPRESS: compress, TEST_PREPARED: prepared } = process.env

/** For proxies that a test starts in its own process. */
export const optionsOfRun: Pick<ProxyOptions, 'compress' | 'preparedConnections'> = {
  ...(compress ? { compress: compress as 'zlib' | 'zstd' } : {}),
  ...(prepared ? { preparedConnections: Number(prepared) } : {}),
}

/** The same for programs. */
export const variablesOfRun: Record<string, string> = {
  ...(compress ? { MYSQL_IAM_PROXY_COMPRESS: compress } : {}),
  ...(prepared ? { MYSQL_IAM_PROXY_PREPARED_CONNECTIONS: prepared } : {}),
}

/** Whether sessions are compressed although their clients did not ask for it. */
export const compressesAll = compress !== undefined && compress !== 'off'
