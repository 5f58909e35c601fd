/** Runs check in this process with both reporters, and checks what must be true of every run. */
import type { Test as TapTest, Test } from 'tap'
import { check } from '../../src/check/check.ts'
import { jsonReporter, terminalReporter } from '../../src/check/report.ts'
import type { Finding, Reporter, StepResult } from '../../src/check/steps.ts'
import { ERRORS, type ErrorCode } from '../../src/index.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import type { RealServer } from './mariadb.ts'
import { RDS_HOST, refuseLogin, testCertificates } from './scripted-upstream.ts'

export interface Checked {
  /** as on a terminal of 80 columns, without colours */
  text: string
  json: {
    ok: boolean
    code: 'OK' | ErrorCode
    exitCode: number
    error?: Finding
    steps: (StepResult & { code: string })[]
  }
}

export interface CheckRun {
  options?: Partial<ProxyOptions>
  user?: string | undefined
  database?: string
  aws?: boolean
  /** gets the output for people while it is written */
  onText?: (part: string) => void
}

const secrets = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'secret-access-key-of-the-tests',
  sessionToken: `session-token-of-the-tests${'A'.repeat(600)}`,
}

/** Must not appear in any output. */
const SECRETS = /X-Amz-|secret-access-key|session-token-of|hunter\d/

/** Credentials from the environment, without other AWS settings of this machine. */
export function setEnvironment(t: TapTest, more: Record<string, string> = secretEnvironment()): void {
  const kept = { ...process.env }
  for (const name of Object.keys(process.env)) if (/^(AWS_|MYSQL_IAM_PROXY_)/.test(name)) delete process.env[name]
  const nowhere = '/no-such-home'
  Object.assign(process.env, {
    AWS_CONFIG_FILE: `${nowhere}/config`,
    AWS_SHARED_CREDENTIALS_FILE: `${nowhere}/credentials`,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    // Nothing listens there. Tests that need an answer start a stand-in.
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    ...more,
  })
  t.teardown(() => {
    process.env = kept
  })
}

/** Credentials that the server accepts, from the environment. Call it after `setEnvironment`, which undoes it. */
export function useKeysOf({ keys }: RealServer): void {
  const { accessKeyId, secretAccessKey } = keys.longTerm
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey })
  delete process.env['AWS_SESSION_TOKEN']
}

export function secretEnvironment(): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: secrets.accessKeyId,
    AWS_SECRET_ACCESS_KEY: secrets.secretAccessKey,
    AWS_SESSION_TOKEN: secrets.sessionToken,
  }
}

/** Runs check once, and checks what must be true of every run. */
export async function runCheck(
  t: Test,
  { options, user = 'iam_user', database, aws = false, onText = () => {} }: CheckRun,
): Promise<Checked> {
  let text = ''
  let json = ''
  const forPeople = terminalReporter({
    write: part => {
      text += part
      onText(part)
    },
    width: 80,
    isLive: false,
    colours: false,
  })
  const forScripts = jsonReporter(part => {
    json += part
  })
  const { authority } = await testCertificates()
  const proxy = { rdsEndpoint: RDS_HOST, ca: [authority.certificate], caOnly: true, ...options }
  const wanted = { proxy, user: user || undefined, database, aws }
  const { exitCode } = await check(async () => wanted, both(forPeople, forScripts), new AbortController().signal)
  const checked: Checked = { text, json: JSON.parse(json) }

  t.equal(checked.json.exitCode, exitCode, 'the exit code is in the document')
  t.equal(checked.json.ok, exitCode === 0)
  const { code } = checked.json
  t.equal(exitCode, code === 'OK' ? 0 : ERRORS[code].exitCode, "the exit code is that of the error's row")
  t.notMatch(text + json, SECRETS, 'no secret')
  t.notMatch(
    text + json,
    /undefined|NaN|\[object|\{(rds|dial|user|region)\}|\((rds|dial|user|region)\)/,
    'all filled in',
  )
  for (const line of text.split('\n')) {
    // Single words, such as ARNs, are never wrapped.
    if (line.length > 80) t.notMatch(line.trim(), / /, `no longer than 80 columns: ${line}`)
  }
  return checked
}

function both(first: Reporter, second: Reporter): Reporter {
  return {
    begin(step) {
      first.begin(step)
      second.begin(step)
    },
    progress(step, text) {
      first.progress(step, text)
      second.progress(step, text)
    },
    end(result) {
      first.end(result)
      second.end(result)
    },
    finish(result) {
      first.finish(result)
      second.finish(result)
    },
  }
}

/** Asserts that the check stops at `step` with `code`, and that both outputs match `says`. */
export function failsWith(t: Test, { text, json }: Checked, step: string, code: ErrorCode, says: RegExp[]): void {
  t.equal(json.code, code)
  t.match(json.steps.at(-1), { step, status: 'failed', code }, 'the check stops there')
  // Lines wrap at spaces.
  const flat = text.replace(/\s+/g, ' ')
  const finding = JSON.stringify(json.error)
    .replace(/\\n|\s+/g, ' ')
    .replace(/ +/g, ' ')
  for (const pattern of says) {
    t.match(flat, pattern)
    t.match(finding.replaceAll('\\"', '"'), pattern)
  }
}

export function warningsOf({ json }: Checked): Finding[] {
  return json.steps.flatMap(({ warnings }) => warnings)
}

/** The first connection of check: it reads the certificate and sends a login to refuse. */
export const lookedAt = refuseLogin()
