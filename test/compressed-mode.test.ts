/** Sessions with --compress and --prepared-connections behave as without: these files run once more in both modes. */
process.env['TEST_COMPRESS'] = 'zstd'
process.env['TEST_PREPARED'] = '2'
await import('./proxy/change-user.test.ts')
await import('./proxy/session-login.test.ts')
await import('./proxy/stalled-client.test.ts')
