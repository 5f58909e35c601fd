#!/usr/bin/env node
import { main } from '../src/main.ts'

// Whatever still waits, for example for credentials, must not hold up the end.
process.exit(await main(process.argv.slice(2)))
