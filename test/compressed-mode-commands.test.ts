/** As compressed-mode.test.ts: binlog streams, pipelining, LOAD DATA LOCAL, COM_CHANGE_USER, packets of 16 MiB, connections that break. */
process.env['TEST_COMPRESS'] = 'zstd'
process.env['TEST_PREPARED'] = '2'
await import('./proxy/transparency.test.ts')
