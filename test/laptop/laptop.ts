/**
 * A laptop for a recorded run: an empty home directory, a browser, a name service, and stand-ins for IAM Identity Center, for
 * the AWS APIs and for a database behind a Network Load Balancer. The database is a real MariaDB that verifies IAM tokens.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { START_URL, startIdentityCenter } from '../sign-in/identity-center.ts'
import { answersOf } from '../support/aws-account.ts'
import { awsApiEnvironment, identity, serveAwsApi } from '../support/aws-api.ts'
import { realServer } from '../support/mariadb.ts'
import { ensureProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'

/** What `aws configure sso` writes. */
const profile = (region: string) => `[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Developer
region = ${region}

[sso-session corp]
sso_start_url = ${START_URL}
sso_region = us-east-1
sso_registration_scopes = sso:account:access
`

export interface Laptop {
  home: string
  environment: NodeJS.ProcessEnv
  /** of the load balancer */
  balancerPort: number
  /** the address of the stand-in for IAM Identity Center */
  signInUrl: string
}

export async function startLaptop(t: Test): Promise<Laptop> {
  const database = await realServer(t)
  const center = await startIdentityCenter(t)
  const { accessKeyId, secretAccessKey, sessionToken = '' } = database.keys.temporary
  center.roleCredentials = { accessKeyId, secretAccessKey, sessionToken }
  const { region, rdsHost } = database
  const address = '192.0.2.34' // for documentation, so nothing answers there
  const balancer = `databases-0123456789abcdef.elb.${region}.amazonaws.com`
  const api = await serveAwsApi({
    ...answersOf({
      regions: {
        [region]: {
          instances: [
            { name: 'database-1', host: rdsHost, engine: 'mariadb', version: '10.11.14', vpc: 'vpc-a' },
            { name: 'audit', engine: 'postgres', vpc: 'vpc-a' },
          ],
          loadBalancers: [{ name: 'databases', host: balancer, listeners: [{ port: database.port, group: 'one' }] }],
          targetGroups: [{ name: 'one', vpc: 'vpc-a', targets: [{ address, port: 3306 }] }],
        },
      },
    }),
    GetCallerIdentity: identity('arn:aws:sts::123456789012:assumed-role/Developer/you'),
  })
  t.teardown(api.close)

  const home = t.testdir({ '.aws': { config: profile(region) }, 'ca.pem': database.ca })
  const bin = join(home, 'bin')
  mkdirSync(bin)
  const program = (name: string, text: string) => {
    writeFileSync(join(bin, name), text)
    chmodSync(join(bin, name), 0o755)
  }
  program('mysql-iam-proxy', `#!/bin/sh\nexec ${PROGRAM.map(quoted).join(' ')} "$@"\n`)
  program('mysql', `#!/bin/sh\nexec ${quoted(await ensureProgram('mariadb', 'mariadb-client'))} "$@"\n`)
  // The browser: the person agrees at once.
  program('xdg-open', `#!${process.execPath}\nfetch(process.argv[2])\n`)
  const { PATH, NODE_OPTIONS = '', NODE_V8_COVERAGE } = process.env
  const environment = {
    HOME: home,
    PATH: `${bin}:${PATH}`,
    DISPLAY: ':0',
    TERM: 'xterm',
    LANG: 'C.UTF-8',
    TZ: 'UTC',
    NO_COLOR: '1',
    PS1: '$ ',
    ENV: '',
    NODE_OPTIONS: `${NODE_OPTIONS} --import=${new URL('names.mjs', import.meta.url).href}`.trim(),
    ...(NODE_V8_COVERAGE === undefined ? {} : { NODE_V8_COVERAGE }),
    LAPTOP_NAMES: JSON.stringify({ [rdsHost]: address, [balancer]: '127.0.0.1' }),
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    AWS_ENDPOINT_URL_SSO_OIDC: center.url,
    AWS_ENDPOINT_URL_SSO: center.url,
    ...awsApiEnvironment(api.url),
    MYSQL_IAM_PROXY_CA: join(home, 'ca.pem'),
  }
  return { home, environment, balancerPort: database.port, signInUrl: center.url }
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`
