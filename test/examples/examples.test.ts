import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { test } from 'tap'
import { parse } from 'yaml'
import packageJson from '../../package.json' with { type: 'json' }
import { loadConfig } from '../../src/config/load.ts'
import {
  type Command,
  environmentName,
  OPTIONS,
  type OptionName,
  optionNames,
  optionSpec,
  optionsOf,
} from '../../src/config/options.ts'
import { toProxyOptions } from '../../src/config/proxy-options.ts'
import { configSchema } from '../../src/config/schema.ts'
import { resolveSettings } from '../../src/config/settings.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { silent } from '../../src/log.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import {
  composeFiles,
  exampleFiles,
  isOurs,
  kubernetesFiles,
  readExample,
  readJson,
  readPlist,
  readUnit,
  readYaml,
  type Start,
  seconds,
  starts,
  type Value,
} from '../support/examples.ts'
import { ensureProgram } from '../support/packages.ts'
import { type TypedValue, typeErrors } from '../support/type-check.ts'

const IMAGE = `mysql-iam-proxy:${packageJson.version}`

/** Every object in examples/kubernetes, with its file. */
const ofKubernetes = kubernetesFiles.flatMap(path =>
  readYaml(path).map((document): [string, Value] => [path, document]),
)

// ---- names ----

/** Flags of other programs that the examples call. */
const OF_OTHERS = [
  'add-architecture',
  'assume-role-policy-document',
  'build-arg',
  'cap-drop',
  'cli-input-json',
  'cluster-name',
  'detach',
  'exclude',
  'field',
  'from',
  'method', // of hash-password
  'from-file',
  'from-literal',
  'fsys-tarfile',
  'ignore-scripts',
  'namespace',
  'no-audit',
  'no-fund',
  'now',
  'omit',
  'platform',
  'policy-document',
  'policy-name',
  'print-architecture',
  'read-only',
  'rm',
  'role-arn',
  'role-name',
  'service-account',
  'signal',
  'strip-components',
  'values',
  'version',
]

/** Every flag and variable in `text` (the file `path`) that mysql-iam-proxy does not have. */
function unknownNames(path: string, text: string): string[] {
  const flags = [...text.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)].map(match => match[1]!)
  const variables = [...text.matchAll(/\bMYSQL_IAM_PROXY_[A-Z_]+/g)].map(match => match[0])
  const known = new Set<string>(optionNames)
  const knownVariables = new Set<string>(optionNames.map(environmentName))
  return [
    ...flags.filter(flag => !known.has(flag) && !OF_OTHERS.includes(flag)).map(flag => `${path}: --${flag}`),
    ...variables.filter(variable => !knownVariables.has(variable)).map(variable => `${path}: ${variable}`),
  ]
}

/** Every text in the examples that --config may name. */
function configs(): [path: string, text: string][] {
  const files = [...exampleFiles].filter(([path]) => /(^|\/)config\.yaml$/.test(path))
  const maps = kubernetesFiles.flatMap(path =>
    readYaml(path)
      .filter(document => document.kind === 'ConfigMap')
      .map((document): [string, string] => [path, document.data['config.yaml']]),
  )
  return [...files, ...maps]
}

test('the flags and variables in the examples exist', async t => {
  t.ok(exampleFiles.size > 10)
  for (const [path, text] of exampleFiles) t.same(unknownNames(path, text), [], path)
  t.same(unknownNames('x', '[--usr, a] MYSQL_IAM_PROXY_USR=a --user MYSQL_IAM_PROXY_USER'), [
    'x: --usr',
    'x: MYSQL_IAM_PROXY_USR',
  ])
})

test('the configuration files match the schema', async t => {
  const validate = new Ajv2020({ strict: false }).compile(configSchema())
  t.ok(configs().length >= 4)
  for (const [path, text] of configs()) {
    validate(parse(text))
    t.same(validate.errors, null, path)
  }
  t.equal(validate({ endpoints: [{ usr: 'a' }] }), false, 'the check finds an unknown key')
})

test('the proxy accepts the settings of each example', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-examples-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const { certificate, key } = await (await createAuthority('examples')).issue({ names: ['mysql-iam-proxy'] })
  await writeFile(join(directory, 'certificate'), certificate)
  await writeFile(join(directory, 'key'), key)
  await writeFile(join(directory, 'secret'), 'secret of the tests\n')
  /** Replaces paths in the text with files that exist here. */
  const withFiles = (text: string) =>
    text.replace(/(?<=^|[\s:])\/(?:etc|run)\/(?!.*\.sock)[\w./-]+/g, path => {
      if (/key$/.test(path)) return join(directory, 'key')
      return join(directory, /(crt|cert)$/.test(path) ? 'certificate' : 'secret')
    })

  const all = [
    ...starts(),
    ...configs().map(([where, config]) => ({ where, args: ['--config', ''], environment: {}, config })),
  ]
  for (const [index, { where, args, environment, config }] of all.entries()) {
    const file = join(directory, `${index}.yaml`)
    if (config !== undefined) await writeFile(file, withFiles(config))
    const variables = Object.entries(environment).map(([name, value]) => [name, withFiles(value)])
    try {
      const flags = { ...flagsOf('run', args), ...(config === undefined ? {} : { config: file }) }
      const { endpoints } = await loadConfig(flags, [], Object.fromEntries(variables))
      for (const endpoint of endpoints) createProxy(await toProxyOptions(endpoint, silent))
      t.pass(where)
    } catch (error) {
      t.fail(`${where}: ${(error as Error).message}`)
    }
  }
})

test('health checks call existing commands', async t => {
  const calls: [where: string, words: string[]][] = composeFiles.map(path => [
    path,
    readYaml(path)[0].services['mysql-iam-proxy'].healthcheck.test.slice(1),
  ])
  const proxyInEcs = readJson('ecs/task-definition.json').containerDefinitions.find(isOurs)
  calls.push(['ecs/task-definition.json', proxyInEcs.healthCheck.command.slice(1)])
  for (const [path, document] of ofKubernetes) {
    const pod = document.spec?.template?.spec
    for (const container of [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])].filter(isOurs)) {
      for (const probe of [container.startupProbe, container.readinessProbe, container.livenessProbe]) {
        if (probe?.exec) calls.push([path, probe.exec.command])
        else if (probe) t.match(probe.httpGet.path, /^\/(startup|readiness|liveness)$/, path)
      }
    }
  }
  t.ok(calls.length >= 4)
  for (const [where, [program, command, ...args]] of calls) {
    t.equal(program, 'mysql-iam-proxy', where)
    t.equal(command, 'wait', where)
    t.doesNotThrow(() => resolveSettings(flagsOf('wait', args), {}), where)
  }
})

/** `--name value` and `--switch`. @throws Error for what `command` does not take */
function flagsOf(command: Command, args: readonly string[]): Record<string, unknown> {
  const flags: Record<string, unknown> = {}
  for (let index = 0; index < args.length; index++) {
    const name = optionsOf(command).find(option => args[index] === `--${option}`)
    if (!name) throw new Error(`${args[index]} is no option of ${command}`)
    flags[name] = optionSpec(name).kind === 'boolean' ? true : args[++index]
  }
  return flags
}

/** What `start` sets `option` to, by whichever way; of several endpoints the first. */
function settingOf(start: Start, option: OptionName): string | undefined {
  const index = start.args.indexOf(`--${option}`)
  if (index >= 0) return start.args[index + 1]
  const variable = environmentName(option)
  if (variable in start.environment) return start.environment[variable]
  const config = start.config === undefined ? {} : parse(start.config)
  return config[option] ?? config.endpoints?.[0]?.[option]
}

test('each example names a database and allows time for sessions to end', async t => {
  const all = starts()
  t.ok(all.length >= 8)
  for (const start of all) {
    t.match(settingOf(start, 'rds-endpoint'), /\.rds\.amazonaws\.com$/, start.where)
    t.match(settingOf(start, 'listen'), /:3306$|^systemd:/, start.where)
    const delay = settingOf(start, 'max-sigterm-delay') ?? OPTIONS['max-sigterm-delay'].default
    t.ok(start.patience >= seconds(delay) + 5, `${start.where}: ${delay}, then SIGKILL at ${start.patience}`)
  }
})

test('image, version and AWS account are the same everywhere', async t => {
  for (const { image, where } of starts()) if (image) t.equal(image.split('/').at(-1), IMAGE, where)
  for (const [path, text] of exampleFiles) {
    for (const [image] of text.matchAll(/mysql-iam-proxy:\d[\w.-]*/g)) t.equal(image, IMAGE, path)
    for (const [account] of text.matchAll(/(?<!\w)\d{12}(?!\w)/g)) t.equal(account, '123456789012', path)
    t.notMatch(text, /A[KS]IA[A-Z2-7]{16}/, `${path}: no access key`)
  }
})

test('files in a configuration are mounted at their paths', async t => {
  for (const path of kubernetesFiles) {
    for (const document of readYaml(path)) {
      const pod = document.spec?.template?.spec
      for (const container of [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])].filter(isOurs)) {
        const mounts: string[] = (container.volumeMounts ?? []).map((mount: Value) => mount.mountPath)
        const start = starts().find(({ where }) => where === `${path} ${document.kind}`)!
        for (const file of filesOf(start)) t.ok(mounts.includes(dirname(file)), `${path}: ${file}`)
      }
    }
  }
  for (const path of composeFiles) {
    const service = readYaml(path)[0].services['mysql-iam-proxy']
    const start = starts().find(({ where }) => where === path)!
    const mounted = [
      ...(service.secrets ?? []).map((name: string) => `/run/secrets/${name}`),
      ...(service.configs ?? []).map((config: Value) => config.target),
    ]
    for (const file of filesOf(start)) t.ok(mounted.includes(file), `${path}: ${file}`)
  }
  const unit = readUnit('systemd/mysql-iam-proxy.service')
  const credentials = unit.filter(([, key]) => key === 'LoadCredential').map(([, , value]) => value.split(':')[0]!)
  const ofUnit = filesOf(starts().find(({ where }) => where.startsWith('systemd'))!)
  const ofCredentials = [...new Set(ofUnit.filter(file => file.startsWith('/run/credentials/')))]
  t.same(
    ofCredentials,
    credentials.map(name => `/run/credentials/mysql-iam-proxy.service/${name}`),
  )
})

/** The files that a start names, in flags, variables and configuration. */
function filesOf({ args, environment, config }: Start): string[] {
  const values = [...args, ...Object.values(environment), ...(config?.match(/(?<=: )\/\S+/g) ?? [])]
  return values.filter(value => /^\/(run|etc)\//.test(value))
}

// ---- Kubernetes ----

const KINDS: Record<string, string> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'autoscaling/v2': 'autoscaling/v2',
  'batch/v1': 'batch/v1',
  'networking.k8s.io/v1': 'networking/v1',
  'policy/v1': 'policy/v1',
}

function asTyped(path: string, document: Value): TypedValue {
  const module = `kubernetes-types/${KINDS[document.apiVersion] ?? document.apiVersion}`
  return { name: `${path} ${document.kind}`, value: document, module, type: document.kind }
}

test('Kubernetes: each object matches its schema', async t => {
  const objects = ofKubernetes.filter(([, document]) => document.kind !== 'Certificate')
  t.ok(objects.length >= 11)
  t.same(await typeErrors(objects.map(([path, document]) => asTyped(path, document))), [])

  const [path, deployment] = objects.find(([, document]) => document.kind === 'Deployment')!
  const wrong = structuredClone(deployment)
  wrong.spec.template.spec.containers[0].imagePolicy = 'Always'
  const lacking = structuredClone(deployment)
  delete lacking.spec.selector
  const errors = (await typeErrors([asTyped(path, wrong), asTyped(path, lacking)])).join('\n')
  t.match(errors, /imagePolicy/, 'the check finds an unknown field')
  t.match(errors, /selector/, 'the check finds a missing field')
})

test('Kubernetes: each container meets the restricted profile', async t => {
  for (const [path, document] of ofKubernetes) {
    const pod = document.spec?.template?.spec
    if (!pod) continue
    t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }, path)
    t.notOk('runAsUser' in pod.securityContext, `${path}: the application keeps the user of its image`)
    for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
      const asked = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } }
      const user = isOurs(container) ? { runAsUser: 65532, runAsGroup: 65532 } : {}
      t.same(container.securityContext, { ...user, ...asked }, `${path} ${container.name}`)
      const { requests, limits } = container.resources ?? {}
      t.ok(requests?.cpu && requests.memory && limits?.memory, `${path} ${container.name}: resources`)
    }
  }
})

test('Kubernetes: all references exist', async t => {
  const serviceAccounts = ofKubernetes
    .filter(([, { kind }]) => kind === 'ServiceAccount')
    .map(([, o]) => o.metadata.name)
  for (const [path, document] of ofKubernetes) {
    const pod = document.spec?.template?.spec
    if (!pod) continue
    t.ok(serviceAccounts.includes(pod.serviceAccountName), `${path}: ${pod.serviceAccountName}`)
    if (document.kind === 'Deployment') {
      t.match(document.spec.template.metadata.labels, document.spec.selector.matchLabels, path)
    }
    const volumes: string[] = (pod.volumes ?? []).map((volume: Value) => volume.name)
    const mounted = new Set<string>()
    for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
      for (const mount of container.volumeMounts ?? []) mounted.add(mount.name)
      const ports: string[] = (container.ports ?? []).map((port: Value) => port.name)
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
        const port = container[probe]?.httpGet?.port
        if (port !== undefined) t.ok(ports.includes(port), `${path}: ${probe}`)
      }
    }
    t.same([...mounted].sort(), volumes.sort(), path)
    for (const [name, file] of [['MYSQL_PORT', 'listen']] as const) {
      const app = pod.containers.find((container: Value) => !isOurs(container))
      const port = app?.env?.find((item: Value) => item.name === name)?.value
      const start = starts().find(({ where }) => where === `${path} ${document.kind}`)!
      if (app) t.equal(settingOf(start, file), `127.0.0.1:${port}`, path)
    }
  }
})

test('Kubernetes: probes need no Secret', t => {
  for (const [path, document] of ofKubernetes) {
    const pod = document.spec?.template?.spec
    for (const container of [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])].filter(isOurs)) {
      const probes = [container.startupProbe, container.readinessProbe, container.livenessProbe]
      for (const probe of probes) if (probe?.httpGet) t.equal(probe.httpGet.port, 'health', path)
      const start = starts().find(({ where }) => where === `${path} ${document.kind}`)!
      t.equal(settingOf(start, 'admin-token-file'), undefined, path)
      t.match(settingOf(start, 'admin-listen'), /^127\.0\.0\.1:/, path)
    }
  }
  t.end()
})

test('Kubernetes: the network policy allows DNS at the cluster and at NodeLocal DNSCache', t => {
  const policies = ofKubernetes.filter(([, { kind }]) => kind === 'NetworkPolicy')
  t.equal(policies.length, 1)
  const [dns] = policies[0]![1].spec.egress
  t.same(
    dns.ports.map(({ protocol, port }: Value) => `${protocol} ${port}`),
    ['UDP 53', 'TCP 53'],
  )
  t.match(dns.to, [{ namespaceSelector: {} }, { ipBlock: { cidr: '169.254.20.10/32' } }])
  t.end()
})

test('Kubernetes: the parts of the shared service match', async t => {
  const byKind: Record<string, Value> = {}
  for (const document of readYaml('kubernetes/shared.yaml')) byKind[document.kind] = document
  const { Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget, NetworkPolicy } = byKind
  const { labels } = Deployment.spec.template.metadata
  t.same(Service.spec.selector, labels)
  t.same(PodDisruptionBudget.spec.selector.matchLabels, labels)
  t.same(NetworkPolicy.spec.podSelector.matchLabels, labels)
  for (const { labelSelector } of Deployment.spec.template.spec.topologySpreadConstraints) {
    t.same(labelSelector.matchLabels, labels)
  }
  t.same(HorizontalPodAutoscaler.spec.scaleTargetRef.name, Deployment.metadata.name)
  t.notOk('replicas' in Deployment.spec, 'only the autoscaler says how many')
  const [container] = Deployment.spec.template.spec.containers
  const ports: string[] = container.ports.map((port: Value) => port.name)
  t.ok(ports.includes(Service.spec.ports[0].targetPort))
  for (const rule of NetworkPolicy.spec.ingress) for (const { port } of rule.ports) t.ok(ports.includes(port), port)

  const [certificate] = readYaml('kubernetes/shared-certificate.yaml')
  const secrets = Deployment.spec.template.spec.volumes.map((volume: Value) => volume.secret?.secretName)
  t.ok(secrets.includes(certificate.spec.secretName))
  for (const name of certificate.spec.dnsNames) t.equal(name.split('.')[0], Service.metadata.name)
})

// ---- Compose ----

test('Compose: the files match the schema of the Compose Specification', async t => {
  const schema = JSON.parse(await readFile(new URL('../support/schemas/compose-spec.json', import.meta.url), 'utf8'))
  // Compose's own duration, which is not that of ISO 8601
  const formats = {
    duration: /^(\d+(\.\d+)?(us|ms|s|m|h))+$/,
    subnet_ip_address: true,
    ports: true,
    expose: true,
  } as const
  const validate = new Ajv2020({ strict: false, formats }).compile(schema)
  t.equal(composeFiles.length, 2)
  for (const path of composeFiles) {
    const [document] = readYaml(path)
    validate(document)
    t.same(validate.errors, null, path)
    const service = document.services['mysql-iam-proxy']
    t.match(service, { read_only: true, cap_drop: ['ALL'] }, path)
    for (const name of service.secrets ?? []) t.ok(document.secrets[name], `${path}: ${name}`)
  }
  const [wrong] = readYaml('compose/compose.yaml')
  wrong.services.app.depend_on = {}
  wrong.services.app.stop_grace_period = '30 seconds'
  t.equal(validate(wrong), false, 'the check finds an unknown key')
})

test('Compose: the application shares the network of the proxy', async t => {
  const [{ services }] = readYaml('compose/compose.yaml')
  t.equal(services.app.network_mode, 'service:mysql-iam-proxy')
  t.equal(`${services.app.environment.MYSQL_HOST}:${services.app.environment.MYSQL_PORT}`, '127.0.0.1:3306')
  t.notOk('ports' in services.app, 'a container in the network of another publishes no ports')
  const [shared] = readYaml('compose/compose.shared.yaml')
  const { subnet } = shared.networks.databases.ipam.config[0]
  t.same(readYaml('compose/config.yaml')[0].endpoints[0]['allow-from'], [subnet])
})

// ---- ECS ----

test('ECS: the task definition is valid for RegisterTaskDefinition', async t => {
  const typed = (name: string, value: Value): TypedValue => ({
    name,
    value,
    module: '@aws-sdk/client-ecs',
    type: 'RegisterTaskDefinitionCommandInput',
  })
  const task = readJson('ecs/task-definition.json')
  t.same(await typeErrors([typed('task-definition.json', task)]), [])
  const wrong = structuredClone(task)
  wrong.containerDefinitions[1].dependsOn[0].condition = 'READY'
  wrong.containerDefinitions[0].healthcheck = {}
  const errors = (await typeErrors([typed('wrong', wrong)])).join('\n')
  t.match(errors, /READY/, 'the check finds an unknown value')
  t.match(errors, /healthcheck/, 'the check finds an unknown field')

  const [proxy, app] = task.containerDefinitions
  t.same(app.dependsOn, [{ containerName: proxy.name, condition: 'HEALTHY' }])
  t.ok(proxy.healthCheck)
  t.ok(proxy.stopTimeout <= 120, 'the maximum on Fargate')
  t.equal(proxy.user, '65532:65532')
})

test('ECS: the policy allows the role to log in as the user of the proxy', async t => {
  const [statement] = readJson('ecs/task-role-policy.json').Statement
  t.equal(statement.Action, 'rds-db:connect')
  const user = settingOf(starts().find(({ where }) => where.startsWith('ecs'))!, 'user')
  t.match(statement.Resource, new RegExp(`^arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-[A-Z0-9]+/${user}$`))
  const [trust] = readJson('ecs/task-role-trust.json').Statement
  t.equal(trust.Principal.Service, 'ecs-tasks.amazonaws.com')
})

// ---- systemd ----

interface Ended {
  code: number
  output: string
}

function run(program: string, args: string[], cwd: string): Promise<Ended> {
  return new Promise(resolve => {
    execFile(program, args, { cwd, env: { ...process.env, LC_ALL: 'C' } }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, output: stdout + stderr })
    })
  })
}

test('systemd: the units are valid, and the service is sandboxed', async t => {
  const analyze = await ensureProgram('systemd-analyze', 'systemd')
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-units-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const name = 'mysql-iam-proxy.service'
  const socket = 'mysql-iam-proxy.socket'
  for (const file of [name, socket]) await writeFile(join(directory, file), readExample(`systemd/${file}`))
  // It looks for the program, which need not be installed here.
  const unit = readExample(`systemd/${name}`)
  const present = unit.replace(/^(ExecStart|ExecReload)=mysql-iam-proxy/gm, '$1=/bin/true')
  t.not(present, unit)
  await writeFile(join(directory, name), present)
  t.same(await run(analyze, ['verify', `./${name}`, `./${socket}`], directory), { code: 0, output: '' })

  // 1.5 of 10; what is left is what it needs: the network, unix sockets, the compiler of Node.js
  const security = await run(analyze, ['security', '--offline=true', '--threshold=15', `./${name}`], directory)
  t.equal(security.code, 0, security.output.trimEnd().split('\n').at(-1)!)

  const wrong = present.replace('ProtectHome=yes', 'ProtectHome=perhaps\nProtectHouse=yes')
  await writeFile(join(directory, 'wrong.service'), wrong)
  const { output } = await run(analyze, ['verify', './wrong.service'], directory)
  t.match(output, /perhaps/, 'the check finds a wrong value')
  t.match(output, /ProtectHouse/, 'the check finds an unknown key')
})

test('systemd: the configuration uses the systemd socket', async t => {
  const socket = new Map(readUnit('systemd/mysql-iam-proxy.socket').map(([, key, value]) => [key, value]))
  const listens = readYaml('systemd/config.yaml')[0].endpoints.map((endpoint: Value) => endpoint.listen)
  t.same(
    listens.filter((listen: string) => listen.startsWith('systemd')),
    [`systemd:${socket.get('FileDescriptorName')}`],
  )
  t.match(socket.get('ListenStream'), /^127\.0\.0\.1:3306$/)
  const unit = new Map(readUnit('systemd/mysql-iam-proxy.service').map(([, key, value]) => [key, value]))
  t.match(unit.get('Requires'), 'mysql-iam-proxy.socket', 'the service needs the socket')
  t.equal(unit.get('Type'), 'notify')
  t.equal(unit.get('NotifyAccess'), 'all', 'a child notifies')
  t.equal(unit.get('MemoryDenyWriteExecute'), 'no', 'Node.js generates code at run time')
})

// ---- launchd ----

/** launchd.plist(5), as far as it is used. */
const LAUNCHD_KEYS: Record<string, string> = {
  Label: 'string',
  ProgramArguments: 'array',
  EnvironmentVariables: 'object',
  RunAtLoad: 'boolean',
  KeepAlive: 'boolean',
  ThrottleInterval: 'number',
  ExitTimeOut: 'number',
  ProcessType: 'string',
  SoftResourceLimits: 'object',
  StandardOutPath: 'string',
  StandardErrorPath: 'string',
}

test('launchd: a property list with the keys of launchd.plist(5)', async t => {
  const paths = [...exampleFiles.keys()].filter(path => path.endsWith('.plist'))
  t.equal(paths.length, 1)
  for (const path of paths) {
    const text = readExample(path)
    t.ok(
      text.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"'),
    )
    const list = readPlist(path)
    for (const [key, value] of Object.entries(list)) {
      t.equal(Array.isArray(value) ? 'array' : typeof value, LAUNCHD_KEYS[key], `${path}: ${key}`)
    }
    t.equal(`launchd/${list.Label}.plist`, path)
    t.ok(list.ProgramArguments.every((argument: unknown) => typeof argument === 'string'))
    t.ok(['Background', 'Standard', 'Adaptive', 'Interactive'].includes(list.ProcessType))
    t.match(list.EnvironmentVariables.PATH, '/opt/homebrew/bin')
  }
})

// ---- README of each folder ----

test('each folder of examples has a README', async t => {
  const folders = new Set([...exampleFiles.keys()].filter(path => path.includes('/')).map(path => path.split('/')[0]))
  for (const folder of folders) {
    const text = exampleFiles.get(`${folder}/README.md`) ?? ''
    t.not(text, '', `${folder}/README.md`)
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      const target = join(folder!, link!)
      if (!target.startsWith('..')) t.ok(exampleFiles.has(target), `${folder}/README.md: ${link}`)
    }
  }
})
