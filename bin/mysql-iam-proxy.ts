#!/usr/bin/env node
import '../src/no-debugger.ts'
import { flushLogs } from '../src/log-sink.ts'
import { main } from '../src/main.ts'

// Without a top-level await: the single executables contain CommonJS.
main(process.argv.slice(2)).then(async exitCode => {
  await flushLogs()
  // Whatever still waits, for example for credentials, must not hold up the end.
  process.exit(exitCode)
})
