/** How tests start the program as a process. */
import { fileURLToPath } from 'node:url'

/** Set by run.ts: the command as a JSON array. */
export const programVariable = 'TEST_PROGRAM_OF_MYSQL_IAM_PROXY'

/** The command and its first arguments. A test file that runs alone starts the program from source. */
export const PROGRAM: readonly [command: string, ...args: string[]] = JSON.parse(
  process.env[programVariable] ??
    JSON.stringify([
      process.execPath,
      '--import=tsx',
      fileURLToPath(new URL('../../bin/mysql-iam-proxy.ts', import.meta.url)),
    ]),
)
