#!/usr/bin/env node
import '../src/no-debugger.ts'

// Loaded after the line above has run. Without a top-level await: the single executables contain CommonJS.
Promise.all([import('../src/main.ts'), import('../src/log-sink.ts')]).then(async ([{ main }, { flushLogs }]) => {
  const exitCode = await main(process.argv.slice(2))
  await flushLogs()
  // Whatever still waits, for example for credentials, must not hold up the end.
  process.exit(exitCode)
})
