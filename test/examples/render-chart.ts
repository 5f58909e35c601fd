/**
 * `npm run chart`: checks the Helm chart with Helm's own linter, and writes its output for the values of the tests.
 *
 * HELM names the program. Without it, `helm` of the PATH counts, or else Go downloads and compiles it.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { chartDirectory, headerOf, renderings } from '../support/chart.ts'
import { findProgram } from '../support/packages.ts'

const HELM = 'helm.sh/helm/v3/cmd/helm@v3.22.0'

// A Helm that Go compiled takes the cluster for Kubernetes 1.20.
const KUBERNETES = ['--kube-version', '1.30.0']

/** Values that the chart refuses, with a part of its message. */
const REFUSED: readonly (readonly [settings: string, message: RegExp])[] = [
  ['config.endpoints=null', /at least one endpoint/],
  ['image.repository=', /image.repository is required/],
  ['networkPolicy.databases=null', /networkPolicy.databases is required/],
  ['certificate.issuerRef.name=', /certificate.issuerRef is required/],
  ['config.endpoints[0].listen=127.0.0.1:3306', /needs? an address such as 0.0.0.0:3306/],
  ['config.endpoints[0].listen=0.0.0.0:99999', /number from 1 to 65535/],
  ['config.health-listen=0.0.0.0:3306', /port 3306 is used twice/],
  ['config.max-sigterm-delay=1.5s', /whole seconds/],
  ['config.endpoints[0].usr=app', /usr/],
  ['config.log-fromat=json', /log-fromat/],
  ['image.pullPolicy=Sometimes', /pullPolicy/],
]

function helm(...args: string[]): string {
  const program = process.env['HELM'] ?? findProgram('helm')
  const [command, ...first] = program ? [program] : ['go', 'run', HELM]
  try {
    return execFileSync(command!, [...first, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { stderr, stdout } = error as { stderr?: string; stdout?: string }
    throw new Error(`helm ${args.join(' ')}: ${(error as Error).message}\n${stdout ?? ''}${stderr ?? ''}`)
  }
}

function refusal(settings: string): string {
  const { values, release } = renderings.shared
  try {
    helm('template', release, chartDirectory, ...KUBERNETES, '--values', values, '--set', settings)
  } catch (error) {
    return (error as Error).message
  }
  throw new Error(`Helm accepts ${settings}`)
}

for (const rendering of Object.values(renderings)) {
  const { path, values, release, namespace } = rendering
  process.stdout.write(helm('lint', chartDirectory, '--strict', '--values', values))
  const output = helm('template', release, chartDirectory, ...KUBERNETES, '--namespace', namespace, '--values', values)
  writeFileSync(path, `${headerOf(rendering)}\n${output}`)
}
for (const [settings, message] of REFUSED) {
  const text = refusal(settings)
  if (!message.test(text)) throw new Error(`${settings}: ${text}`)
}
process.stdout.write(`${REFUSED.length} wrong values are refused\n`)
