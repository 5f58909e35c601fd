import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { test } from 'tap'
import { parse } from 'yaml'
import { chartSchema } from '../../docs/make-chart-schema.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { chartDirectory, headerOf, rendered, renderings } from '../support/chart.ts'
import { readExample, readYaml, seconds, type Value } from '../support/examples.ts'
import { typeErrors } from '../support/type-check.ts'

const SCHEMA = 'helm/mysql-iam-proxy/values.schema.json'

/** What Helm hands to the templates: maps are merged, all else is replaced. */
function merged(defaults: Value, values: Value): Value {
  const isMap = (value: Value) => typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isMap(defaults) || !isMap(values)) return values
  const both = { ...defaults }
  for (const [key, value] of Object.entries(values)) both[key] = key in defaults ? merged(defaults[key], value) : value
  return both
}

const defaults = parse(readExample('helm/mysql-iam-proxy/values.yaml'))
const valuesOf = (path: string): Value => merged(defaults, parse(readFileSync(path, 'utf8')))

test("the chart has the proxy's version", async t => {
  const chart = parse(readExample('helm/mysql-iam-proxy/Chart.yaml'))
  t.match(chart, { name: packageJson.name, version: packageJson.version, appVersion: packageJson.version })
})

test("the schema of the chart's values is up to date (npm run docs), and knows each value", async t => {
  t.equal(readExample(SCHEMA), chartSchema())
  const validate = new Ajv({ strict: false }).compile(JSON.parse(readExample(SCHEMA)))
  for (const { values } of Object.values(renderings)) {
    validate(valuesOf(values))
    t.same(validate.errors, null, values)
  }
  const [known, has] = [JSON.parse(readExample(SCHEMA)).properties, Object.keys(defaults)]
  t.same(Object.keys(known).sort(), [...has, 'global'].sort(), 'each value has a default')
  for (const wrong of [{ replica: 2 }, { image: { repo: 'a' } }, { config: { endpoints: [{ usr: 'a' }] } }]) {
    t.equal(validate(merged(defaults, wrong)), false, JSON.stringify(wrong))
  }
})

test("Helm's output is from these files (npm run chart)", async t => {
  for (const rendering of Object.values(renderings)) {
    t.equal(readFileSync(rendering.path, 'utf8').split('\n')[0], headerOf(rendering), rendering.path)
  }
})

/** What Helm adds to the objects, and the hash that restarts the pods. Their other fields equal the example's. */
const LABELS = [
  'app.kubernetes.io/instance',
  'app.kubernetes.io/version',
  'app.kubernetes.io/managed-by',
  'helm.sh/chart',
]

/** `object` as it is written in examples/kubernetes: its configuration as a value, without the labels of Helm. */
function plain(object: Value): Value {
  const copy = JSON.parse(JSON.stringify(object), (key, value) => {
    if (!['labels', 'matchLabels', 'selector', 'annotations'].includes(key)) return value
    const kept = Object.entries(value).filter(([name]) => !LABELS.includes(name) && name !== 'checksum/config')
    return kept.length === 0 ? undefined : Object.fromEntries(kept)
  })
  const ownLabel = { 'app.kubernetes.io/name': 'mysql-iam-proxy' }
  copy.metadata.labels ??= ownLabel
  if (copy.kind === 'ConfigMap') copy.data['config.yaml'] = parse(copy.data['config.yaml'])
  // The default of Kubernetes for a tag other than latest, which the chart names.
  for (const container of copy.spec?.template?.spec.containers ?? []) container.imagePullPolicy ??= 'IfNotPresent'
  return copy
}

test('the chart makes the objects of examples/kubernetes', async t => {
  const byKind = (objects: Value[]) => Object.fromEntries(objects.map(object => [object.kind, plain(object)]))
  const expected = [...readYaml('kubernetes/shared.yaml'), ...readYaml('kubernetes/shared-certificate.yaml')]
  const actual = rendered(renderings.shared)
  t.equal(actual.length, expected.length)
  const [ofChart, ofExample] = [byKind(actual), byKind(expected)]
  t.same(Object.keys(ofChart).sort(), Object.keys(ofExample).sort())
  for (const kind of Object.keys(ofExample)) t.strictSame(ofChart[kind], ofExample[kind], kind)
})

const MODULES: Record<string, string> = {
  v1: 'core/v1',
  'networking.k8s.io/v1': 'networking/v1',
  'policy/v1': 'policy/v1',
}

test('other values give valid objects whose names match', async t => {
  const objects = rendered(renderings.several)
  const values = valuesOf(renderings.several.values)
  const typed = objects.filter(({ kind }) => kind !== 'Certificate')
  const asTyped = (value: Value) => ({
    name: value.kind,
    value,
    module: `kubernetes-types/${MODULES[value.apiVersion] ?? value.apiVersion}`,
    type: value.kind,
  })
  t.same(await typeErrors(typed.map(asTyped)), [])

  const kinds: Record<string, Value> = Object.fromEntries(objects.map(object => [object.kind, object]))
  t.notOk(kinds['HorizontalPodAutoscaler'])
  t.notOk(kinds['ServiceAccount'])
  const { Deployment, Service, PodDisruptionBudget, NetworkPolicy, ConfigMap, Certificate } = kinds
  for (const { metadata } of objects) {
    t.equal(metadata.name, 'rds-mysql-iam-proxy')
    t.match(metadata.labels, { 'app.kubernetes.io/instance': 'rds', 'app.kubernetes.io/managed-by': 'Helm' })
  }
  t.same(parse(ConfigMap.data['config.yaml']), values.config)

  const { selector, template, replicas } = Deployment.spec
  const pod = template.spec
  const [container] = pod.containers
  t.equal(replicas, 3)
  t.match(template.metadata.labels, { ...selector.matchLabels, 'example.com/team': 'databases' })
  for (const labels of [Service.spec.selector, PodDisruptionBudget.spec.selector.matchLabels]) {
    t.same(labels, selector.matchLabels)
  }
  t.same(NetworkPolicy.spec.podSelector.matchLabels, selector.matchLabels)
  t.equal(container.image, `registry.example.com/proxy@sha256:${'0'.repeat(64)}`)
  t.same(container.ports, [
    { name: 'mysql-3306', containerPort: 3306 },
    { name: 'mysql-3307', containerPort: 3307 },
    { name: 'health', containerPort: 8080 },
  ])
  t.same(
    Service.spec.ports.map((port: Value) => [port.port, port.targetPort]),
    [
      [3306, 'mysql-3306'],
      [3307, 'mysql-3307'],
    ],
  )
  t.equal(
    pod.terminationGracePeriodSeconds,
    values.preStopSeconds + seconds(values.config['max-sigterm-delay']) + 10,
    'preStop, max-sigterm-delay, and the rest',
  )
  t.equal(container.lifecycle.preStop.sleep.seconds, values.preStopSeconds)
  t.equal(pod.serviceAccountName, 'databases')
  t.same(
    pod.volumes.map((volume: Value) => volume.secret?.secretName ?? volume.configMap.name),
    [ConfigMap.metadata.name, 'proxy-passwords', Certificate.spec.secretName],
  )
  t.ok(Certificate.spec.dnsNames.includes('mysql.example.com'))
  t.ok(Certificate.spec.dnsNames.includes(`${Service.metadata.name}.default.svc`))
  t.equal(NetworkPolicy.spec.ingress.length, 1, 'no rule for Prometheus')
  t.same(
    NetworkPolicy.spec.egress.map((rule: Value) => rule.ports.map((port: Value) => port.port)),
    [[53, 53], [3306, 3307], [443]],
  )
  for (const key of ['nodeSelector', 'tolerations', 'affinity', 'imagePullSecrets', 'priorityClassName']) {
    t.same(pod[key], values[key], key)
  }
  t.same(container.env, values.env)
})

test('each template is part of a rendering', async t => {
  const texts = Object.values(renderings)
    .map(({ path }) => readFileSync(path, 'utf8'))
    .join('\n')
  const sources = [...texts.matchAll(/^# Source: mysql-iam-proxy\/templates\/(.*)$/gm)].map(([, name]) => name)
  const templates = readdirSync(join(chartDirectory, 'templates')).filter(name => name.endsWith('.yaml'))
  t.same([...new Set(sources)].sort(), templates.sort())
})
