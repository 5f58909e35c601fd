/** `mysql-iam-proxy add [NAME...]`: writes databases into the configuration file. */
import { resolve } from 'node:path'
import { addEndpoints, type Entry, nameOfEntry, readEntries, toYaml } from '../config/edit.ts'
import { mayBeInFile } from '../config/keys.ts'
import { type OptionName, optionSpec, optionsOf } from '../config/options.ts'
import { environmentSource, flagSource, resolveSettings, type Settings, sourceOfOption } from '../config/settings.ts'
import { replaceFile } from '../config/write-file.ts'
import { type HostPort, parseListen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { readDatabaseProxy } from '../forward-proxy.ts'
import { readText } from '../read-file.ts'
import { shellWord } from '../shell-quote.ts'
import { databaseUserProblem, endpointNameProblem } from '../value-checks.ts'
import { configOf, tryLogin } from './add-check.ts'
import {
  askForWay,
  type Candidate,
  chooseProfile,
  findCandidates,
  givenDatabase,
  NO_TERMINAL,
  wayOptions,
} from './add-choose.ts'
import type { Invocation } from './command.ts'
import {
  type EndpointsFile,
  isPortTaken,
  nextFreePort,
  portsIn,
  readEndpointsFile,
  reloadAdvice,
  startCommand,
} from './endpoints-file.ts'
import { createMfaCredentials, type MfaCredentials } from './mfa-codes.ts'
import { Cancelled, type Questions, questionsOn } from './questions.ts'

/** What the command line says. */
interface Given {
  settings: Settings
  isGiven(option: OptionName): boolean
  isFlag(option: OptionName): boolean
  words: readonly string[]
  questions: Questions | undefined
  mfa: MfaCredentials | undefined
  stop: AbortSignal
  /** To people: standard error */
  say(text: string): void
}

/**
 * Resolves with the exit code: 130 if the person at the terminal cancelled; that of the check if its login failed.
 * @throws ProxyError CONFIG_INVALID, or that of AWS; then nothing is written
 */
export async function add({ flags, words, stop, print }: Invocation): Promise<number | undefined> {
  const settings = resolveSettings(flags, process.env)
  const sources = [flagSource(flags), environmentSource(process.env)]
  const questions = questionsOn(settings, process.env, stop)
  const given: Given = {
    settings,
    isGiven: option => sourceOfOption(sources, option) !== undefined,
    isFlag: option => flags[option] !== undefined,
    words,
    questions,
    mfa: questions && createMfaCredentials(stop),
    stop,
    say: text => void process.stderr.write(`${text}\n`),
  }
  try {
    return await addTo(await readEndpointsFile(settings, process.env), given, print)
  } catch (thrown) {
    if (!(thrown instanceof Cancelled)) throw thrown
    given.say('Cancelled. Nothing was written.')
    return stop.aborted ? undefined : 130
  }
}

async function addTo(file: EndpointsFile, given: Given, print: (text: string) => void): Promise<number | undefined> {
  refuseMissing(file, given)
  const before = await portsIn(file)
  const candidates = await chooseCandidates(file, given)
  for (const option of ['rds-endpoint', 'connect', 'listen', 'as'] as const) {
    if (candidates.length > 1 && given.isGiven(option)) {
      throw new ProxyError(
        'CONFIG_INVALID',
        `--${option}: applies to one database, but ${candidates.length} are chosen`,
      )
    }
  }
  const entries: Entry[] = []
  for (const candidate of candidates) entries.push(await entryFor(candidate, entries, file, before, given))

  const tested = given.settings['no-check'] ? { entries, exitCode: 0 } : await testEntries(entries, file, given)
  if (tested.exitCode !== 0) {
    given.say('Nothing was written. With --no-check, add writes it without a login.')
    return tested.exitCode
  }
  given.stop.throwIfAborted()
  const text = addEndpoints(file.text, tested.entries)
  if (given.settings['no-check']) await configOf(text, file.path)
  const advice = await reloadAdvice(before)
  await replaceFile(file.path, file.text, text)
  print(summary(file, tested.entries, advice))
  return undefined
}

/** Without a terminal, names everything that is missing at once. */
function refuseMissing(file: EndpointsFile, { settings, words, questions }: Given): void {
  const host = settings['rds-endpoint']
  if (host !== undefined && words.length > 1) {
    throw new ProxyError('CONFIG_INVALID', `add: --rds-endpoint is one database, but there are ${words.length} names`)
  }
  if (host !== undefined && words[0] !== undefined && settings.as === undefined) refuseName(words[0], 'add')
  for (const name of [settings.as, host === undefined ? undefined : words[0]]) {
    if (name !== undefined) refuseDuplicate(name, file.names, file.path)
  }
  const problem = settings.user === undefined ? undefined : databaseUserProblem(settings.user)
  if (problem) throw new ProxyError('CONFIG_INVALID', `--user: ${problem}`)
  if (questions) return
  const missing = [
    ...(host === undefined && words.length === 0
      ? ['NAME of a database (mysql-iam-proxy list shows them) or --rds-endpoint']
      : []),
    ...(settings.user === undefined && !settings['no-check'] ? ['--user'] : []),
  ]
  if (missing.length === 0) return
  const are = missing.length === 1 ? 'is' : 'are'
  throw new ProxyError('CONFIG_INVALID', `add: ${missing.join(' and ')} ${are} missing`, { hint: NO_TERMINAL })
}

function refuseName(name: string, label: string): void {
  const problem = endpointNameProblem(name)
  if (problem) throw new ProxyError('CONFIG_INVALID', `${label}: ${problem}`)
}

function refuseDuplicate(name: string, names: readonly string[], path: string): void {
  if (!names.includes(name)) return
  const hint = `Choose another name with --as NAME, or run mysql-iam-proxy remove ${shellWord(name)} first.`
  throw new ProxyError('CONFIG_INVALID', `${name}: duplicate endpoint name; ${path} has it already`, { hint })
}

async function chooseCandidates(
  file: EndpointsFile,
  { settings, words, questions, mfa, stop, say }: Given,
): Promise<Candidate[]> {
  const host = settings['rds-endpoint']
  if (host !== undefined) {
    const profile = await chooseProfile({ settings, questions, environment: process.env })
    return [givenDatabase(host, settings.as ?? words[0], profile)]
  }
  const entries = readEntries(file.text ?? '') ?? []
  const ca = await Promise.all(settings.ca.map(path => readText('--ca', path)))
  return await findCandidates({
    names: [...new Set(words)],
    settings,
    ca,
    questions,
    environment: process.env,
    mfa,
    stop,
    say,
    inFile(host) {
      const found = entries.find(entry => (entry as Record<string, unknown>)['rds-endpoint'] === host)
      return found === undefined ? '' : `in the file as ${nameOfEntry(found)}`
    },
  })
}

/** Asks what the options leave open. @param earlier the entries of the same run */
async function entryFor(
  candidate: Candidate,
  earlier: readonly Entry[],
  file: EndpointsFile,
  ports: readonly { port: number }[],
  given: Given,
): Promise<Entry> {
  const { settings, questions, isGiven, say } = given
  const name = await nameFor(
    settings.as ?? candidate.name,
    [...file.names, ...earlier.map(nameIn)],
    file.path,
    questions,
  )
  const options = givenOptions(given)
  const way = { ...(candidate.connect === undefined ? {} : { connect: candidate.connect }) }
  const hasWay = ['connect', 'proxy', 'tunnel', 'ssm-target'].some(option => option in options)
  if (candidate.unreachable !== undefined && !hasWay) {
    const answer = questions && (await askForWay(candidate, questions))
    if (answer) Object.assign(way, { [answer[0]]: answer[1] })
    if (!questions) say(`! ${name} is private, and this machine does not reach it. Ways there: ${wayOptions()}`)
  }
  const user =
    settings.user ??
    (await questions?.text(`Database user for ${name}`, {
      initial: (earlier.at(-1)?.user as string | undefined) ?? userInFile(file),
      problem: databaseUserProblem,
    }))
  const taken = new Set([...ports, ...earlier.flatMap(portOf)].map(({ port }) => port))
  const listen = isGiven('listen') ? settings.listen : await chooseListen(name, taken, given)
  if (isGiven('listen')) await warnOfTakenPort(settings.listen, say)
  return {
    name,
    'rds-endpoint': candidate.rdsEndpoint,
    ...way,
    listen,
    ...(user === undefined ? {} : { user }),
    ...(candidate.profile === undefined ? {} : { profile: candidate.profile }),
    ...options,
  }
}

async function nameFor(
  name: string,
  names: readonly string[],
  path: string,
  questions: Questions | undefined,
): Promise<string> {
  if (!questions) refuseDuplicate(name, names, path)
  if (!questions || !names.includes(name)) return name
  return await questions.text(`${name} is in the file already. Another name`, {
    problem: text => endpointNameProblem(text) ?? (names.includes(text) ? `duplicate name: ${text}` : undefined),
  })
}

/** Asks only a person who chose the databases from the list: a line with names should ask no more than it must. */
async function chooseListen(name: string, taken: ReadonlySet<number>, given: Given): Promise<string> {
  const { words, settings, questions } = given
  const free = await nextFreePort(taken)
  if (free === undefined) throw new ProxyError('LISTEN_FAILED', 'add: this machine has no free port from 3306 on')
  const asks = questions && words.length === 0 && settings['rds-endpoint'] === undefined
  if (!asks) return `127.0.0.1:${free}`
  const port = await questions.text(`Local port for ${name}`, {
    initial: String(free),
    async problem(text) {
      const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
      if (port < 1 || port > 65_535) return `"${text}" is not a port from 1 to 65535`
      if (taken.has(port)) return `another endpoint of the file has port ${port}`
      return (await isPortTaken(port)) ? `another program uses port ${port}, or you may not listen on it` : undefined
    },
  })
  return `127.0.0.1:${Number(port)}`
}

/** Only a warning: it may be the proxy that this endpoint replaces. */
async function warnOfTakenPort(text: string, say: (text: string) => void): Promise<void> {
  const listen = parseListen(text, '--listen')
  if ('host' in listen && listen.port !== 0 && (await isPortTaken(listen.port))) {
    say(`! --listen: another program uses port ${listen.port} now. Stop it before you start the proxy.`)
  }
}

function nameIn(entry: Entry): string {
  return String(entry.name)
}

function portOf({ listen }: Entry): HostPort[] {
  const parsed = parseListen(String(listen))
  return 'host' in parsed ? [parsed] : []
}

/** The user of the last endpoint: often all have the same one. */
function userInFile({ text }: EndpointsFile): string | undefined {
  const users = (readEntries(text ?? '') ?? []).map(entry => (entry as Record<string, unknown>).user)
  return users.findLast((user): user is string => typeof user === 'string')
}

/** Written for each endpoint by itself, or only for finding the databases. */
const ELSEWHERE: readonly OptionName[] = ['rds-endpoint', 'listen', 'user', 'profile']

/** The other options of the command line that a file may have. Paths become absolute, because the file may be read elsewhere. */
function givenOptions({ settings, isGiven, isFlag }: Given): Record<string, string | boolean | string[]> {
  const isFound = settings['rds-endpoint'] === undefined
  const names = optionsOf('add').filter(option => {
    const isOfEndpoint = mayBeInFile(option) && !optionSpec(option).perProcess && !ELSEWHERE.includes(option)
    // The URL of a forward proxy in the environment may hold a password, which stays there.
    const counts = option === 'proxy' ? isFlag(option) : isGiven(option)
    return isOfEndpoint && counts && !(option === 'region' && isFound)
  })
  return Object.fromEntries(
    names.map(option => {
      const { placeholder } = optionSpec(option)
      const absolute = (value: string) => (placeholder === 'FILE' || placeholder === 'FOLDER' ? resolve(value) : value)
      const value = settings[option] as string | boolean | string[]
      return [option, typeof value === 'string' ? absolute(value) : Array.isArray(value) ? value.map(absolute) : value]
    }),
  )
}

interface Tested {
  entries: Entry[]
  /** of the first check that failed and was not accepted; else 0 */
  exitCode: number
}

/** Tries a login of each. After a failure, the person at the terminal decides. */
async function testEntries(entries: readonly Entry[], file: EndpointsFile, given: Given): Promise<Tested> {
  const kept: Entry[] = []
  for (let entry of entries) {
    for (;;) {
      const config = await configOf(addEndpoints(file.text, [entry]), file.path)
      const exitCode = await tryLogin(config, nameIn(entry), process.stderr, given)
      given.stop.throwIfAborted()
      if (exitCode === 0) kept.push(entry)
      if (exitCode === 0) break
      if (!given.questions) return { entries: [], exitCode }
      const answer = await given.questions.chooseOne(`The login to ${nameIn(entry)} failed`, [
        { value: 'again', label: 'Try again' },
        { value: 'user', label: 'Try another database user' },
        { value: 'keep', label: 'Add it anyway' },
        { value: 'skip', label: 'Leave it out' },
      ] as const)
      if (answer === 'keep') kept.push(entry)
      if (answer === 'keep' || answer === 'skip') break
      if (answer === 'user') {
        const user = await given.questions.text(`Database user for ${nameIn(entry)}`, {
          initial: String(entry.user),
          problem: databaseUserProblem,
        })
        entry = { ...entry, user }
      }
    }
  }
  if (kept.length === 0) throw new Cancelled('nothing left')
  return { entries: kept, exitCode: 0 }
}

function withoutPassword(entry: Entry): Entry {
  return entry.proxy === undefined ? entry : { ...entry, proxy: readDatabaseProxy(String(entry.proxy))!.shown }
}

function summary(file: EndpointsFile, entries: readonly Entry[], advice: string): string {
  const start = startCommand(file)
  const connect = entries.flatMap(entry => {
    const [listen] = portOf(entry)
    const user = entry.user === undefined ? 'USER' : shellWord(String(entry.user))
    return listen ? [`  mysql -h ${listen.host} -P ${listen.port} -u ${user}`] : []
  })
  const first = nameIn(entries[0]!)
  return [
    `Added to ${file.path}:`,
    '',
    toYaml(entries.map(withoutPassword)).trimEnd().replace(/^/gm, '  '),
    '',
    ...(advice === '' ? [] : [advice, '']),
    'Start the proxy:',
    `  ${start}`,
    'Connect a client, with any or no password:',
    ...connect,
    'When something fails, and to undo this:',
    `  ${start.replace('mysql-iam-proxy', `mysql-iam-proxy check ${first}`)}`,
    `  ${start.replace('mysql-iam-proxy', `mysql-iam-proxy remove ${entries.map(nameIn).join(' ')}`)}`,
  ].join('\n')
}
