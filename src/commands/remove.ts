/** `mysql-iam-proxy remove NAME...`: takes databases out of the configuration file. */
import { entryText, isWithoutContent, removeEndpoint } from '../config/edit.ts'
import { resolveSettings } from '../config/settings.ts'
import { replaceFile } from '../config/write-file.ts'
import { ProxyError } from '../errors.ts'
import { didYouMean } from '../text.ts'
import type { Invocation } from './command.ts'
import { type EndpointsFile, portsIn, readEndpointsFile, reloadAdvice } from './endpoints-file.ts'
import { Cancelled, questionsOn } from './questions.ts'

/** Resolves with 130 if the person at the terminal cancelled. @throws ProxyError CONFIG_INVALID; then nothing changes */
export async function remove({ flags, words, stop, print }: Invocation): Promise<number | undefined> {
  const settings = resolveSettings(flags, process.env)
  const file = await readEndpointsFile(settings, process.env)
  const { path, text, names } = file
  if (text === undefined || names.length === 0) {
    throw new ProxyError(
      'CONFIG_INVALID',
      `remove: ${path} ${text === undefined ? 'does not exist' : 'has no endpoints'}`,
    )
  }
  const questions = questionsOn(settings, process.env, stop)
  let wanted = [...new Set(words)]
  if (wanted.length === 0) {
    if (!questions) throw new ProxyError('CONFIG_INVALID', `remove: NAME is missing; ${path} has ${names.join(', ')}`)
    try {
      const choices = names.map(name => ({ value: name, label: name }))
      wanted = await questions.chooseSome(`Remove which endpoints of ${path}? Space selects, Enter goes on`, choices)
    } catch (thrown) {
      if (!(thrown instanceof Cancelled)) throw thrown
      process.stderr.write('Cancelled. Nothing was removed.\n')
      return stop.aborted ? undefined : 130
    }
  }
  for (const name of wanted) {
    if (names.includes(name)) continue
    throw new ProxyError(
      'CONFIG_INVALID',
      `${name}: no such endpoint; ${path} has ${names.join(', ')}${didYouMean(name, names)}`,
    )
  }
  const advice = await adviceFor(file)
  const removed = wanted.map(name => entryText(text, name) ?? '')
  const after = wanted.reduce(removeEndpoint, text)
  // add made the whole file, so undoing it removes the file.
  await replaceFile(path, text, isWithoutContent(after) ? undefined : after)
  print(
    [
      `Removed from ${path}:`,
      '',
      removed.join('').trimEnd().replace(/^/gm, '  '),
      ...(advice ? ['', advice] : []),
    ].join('\n'),
  )
  return undefined
}

/** None for a file with mistakes: no proxy runs with it. */
async function adviceFor(file: EndpointsFile): Promise<string> {
  const ports = await portsIn(file).catch(() => [])
  return await reloadAdvice(ports)
}
