/**
 * A warning of Node.js, such as TimeoutNegativeWarning, fails the test: users would find it raw between our log lines.
 * Loaded before each test file, and by way of NODE_OPTIONS before each program that a test starts.
 */
const GUARDED = /(\.test\.ts|mysql-iam-proxy\.[jt]s)$/

/** module.register(), deprecated in Node.js 26: tap and tsx call it, we do not. */
const FROM_TOOLS = new Set(['DEP0205'])

const isTest = process.argv[1]?.endsWith('.test.ts')

if (GUARDED.test(process.argv[1] ?? '')) {
  process.on('warning', warning => {
    if (FROM_TOOLS.has(warning.code)) return
    // The program hides the AWS SDK's notice; a user of the library, as a test is, decides for itself.
    if (isTest && warning.message.startsWith('NodeVersionSupportWarning')) return
    // Uncaught: tap fails the test, and a program ends with this on stderr.
    throw new Error(`Node.js warned: ${warning.stack}`)
  })
}

if (isTest) {
  const here = `--import=${import.meta.url}`
  const { NODE_OPTIONS = '' } = process.env
  if (!NODE_OPTIONS.includes(here)) process.env.NODE_OPTIONS = `${NODE_OPTIONS} ${here}`.trim()
}
