/** As compressed-mode.test.ts, in a separate process: this file looks for sockets that are left open. */
process.env['TEST_COMPRESS'] = 'zstd'
process.env['TEST_PREPARED'] = '2'
await import('./proxy/session-end.test.ts')
