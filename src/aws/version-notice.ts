/**
 * The notice of the AWS SDK on old versions of Node.js: 16 lines on stderr, from the first client that it makes. A program that
 * uses the library should decide itself what it prints. The SDK has only a variable of the environment to turn it off.
 */
const VARIABLE = 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'

let hidden = 0
let isOurs = false

/** Hides the notice while clients are made. Call the result once they are. */
export function hideVersionNotice(): () => void {
  if (hidden++ === 0 && process.env[VARIABLE] === undefined) {
    process.env[VARIABLE] = 'true'
    isOurs = true
  }
  return () => {
    if (--hidden > 0 || !isOurs) return
    isOurs = false
    delete process.env[VARIABLE]
  }
}

/** The result of `make`, which makes a client. */
export function withoutVersionNotice<Client>(make: () => Client): Client {
  const show = hideVersionNotice()
  try {
    return make()
  } finally {
    show()
  }
}
