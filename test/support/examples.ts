/** The files under examples/, and the settings in them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse as parsePlist } from 'plist'
import { parseAllDocuments } from 'yaml'

const directory = fileURLToPath(new URL('../../examples', import.meta.url))

/** Any parsed YAML or JSON. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is what the tests check
export type Value = any

/** Each file under examples/, by its relative path. */
export const exampleFiles: ReadonlyMap<string, string> = new Map(
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
    .map(path => [path.slice(directory.length + 1), readFileSync(path, 'utf8')]),
)

export function readExample(path: string): string {
  const text = exampleFiles.get(path)
  if (text === undefined) throw new Error(`There is no examples/${path}`)
  return text
}

/** @throws Error also for a duplicate key */
export function readYaml(path: string): Value[] {
  return parseAllDocuments(readExample(path)).map(document => {
    if ('errors' in document && document.errors.length > 0) throw new Error(`${path}: ${document.errors[0]!.message}`)
    return (document as { toJS(): Value }).toJS()
  })
}

export const readJson = (path: string): Value => JSON.parse(readExample(path))

export const readPlist = (path: string): Value => parsePlist(readExample(path))

/** A systemd unit: `[section, key, value]` in the file's order. */
export function readUnit(path: string): [section: string, key: string, value: string][] {
  let section = ''
  const settings: [string, string, string][] = []
  for (const line of readExample(path).split('\n')) {
    section = /^\[(\w+)\]$/.exec(line)?.[1] ?? section
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? []
    if (key !== undefined) settings.push([section, key, value!])
  }
  return settings
}

/** One start of mysql-iam-proxy in an example. */
export interface Start {
  /** the place in the example */
  where: string
  args: string[]
  environment: Record<string, string>
  /** the text of the file given with --config */
  config: string | undefined
  /** seconds from SIGTERM to SIGKILL */
  patience: number
  /** the image, if it runs in a container */
  image: string | undefined
}

export const kubernetesFiles = [...exampleFiles.keys()].filter(path => /^kubernetes\/.*\.yaml$/.test(path))
export const composeFiles = [...exampleFiles.keys()].filter(path => /^compose\/compose.*\.yaml$/.test(path))

/** Every start of mysql-iam-proxy in the examples. */
export function starts(): Start[] {
  return [
    ...kubernetesFiles.flatMap(path => startsOfKubernetes(path)),
    ...composeFiles.map(path => startOfCompose(path)),
    startOfEcs(),
    startOfSystemd(),
    startOfLaunchd(),
  ]
}

function startsOfKubernetes(path: string): Start[] {
  const documents = readYaml(path)
  const configMap = documents.find(document => document.kind === 'ConfigMap')
  return documents.flatMap(document => {
    const pod = document.spec?.template?.spec
    const containers: Value[] = [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])]
    return containers.filter(isOurs).map(container => {
      const environment = Object.fromEntries((container.env ?? []).map((item: Value) => [item.name, item.value]))
      const args: string[] = container.args ?? []
      return {
        where: `${path} ${document.kind}`,
        args,
        environment,
        config: args.includes('--config') ? configMap.data['config.yaml'] : undefined,
        patience: (pod.terminationGracePeriodSeconds ?? 30) - (container.lifecycle?.preStop?.sleep?.seconds ?? 0),
        image: container.image,
      }
    })
  })
}

function startOfCompose(path: string): Start {
  const service = readYaml(path)[0].services['mysql-iam-proxy']
  const args: string[] = service.command ?? []
  const config = args.includes('--config') ? readExample('compose/config.yaml') : undefined
  const environment = service.environment ?? {}
  return { where: path, args, environment, config, patience: seconds(service.stop_grace_period), image: service.image }
}

function startOfEcs(): Start {
  const path = 'ecs/task-definition.json'
  const container = readJson(path).containerDefinitions.find(isOurs)
  const environment = Object.fromEntries(container.environment.map((item: Value) => [item.name, item.value]))
  const args: string[] = container.command ?? []
  return { where: path, args, environment, config: undefined, patience: container.stopTimeout, image: container.image }
}

function startOfSystemd(): Start {
  const path = 'systemd/mysql-iam-proxy.service'
  const settings = readUnit(path)
  const setting = (key: string) => settings.find(([, name]) => name === key)?.[2] ?? ''
  const [, ...args] = setting('ExecStart').split(' ')
  const config = readExample('systemd/config.yaml')
  return { where: path, args, environment: {}, config, patience: seconds(setting('TimeoutStopSec')), image: undefined }
}

function startOfLaunchd(): Start {
  const path = 'launchd/com.example.mysql-iam-proxy.plist'
  const { ProgramArguments, EnvironmentVariables, ExitTimeOut } = readPlist(path)
  const args = ProgramArguments.slice(1)
  return {
    where: path,
    args,
    environment: EnvironmentVariables,
    config: undefined,
    patience: ExitTimeOut,
    image: undefined,
  }
}

export const isOurs = (container: Value): boolean => container.name === 'mysql-iam-proxy'

/** '45s' or '1m30s' in seconds. */
export function seconds(text: string): number {
  const [, minutes = '0', rest = '0'] = /^(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? []
  return Number(minutes) * 60 + Number(rest)
}
