// Recent errors, with hints.

/** @param {Status} status */
function renderErrors({ errors, endpoints, startedAt, now }) {
  const list = byId('errors')
  const groups = grouped(errors)
  const key = JSON.stringify([groups.map(({ count, error }) => [count, error.at, error.code]), endpoints.length])
  byId('no-errors').hidden = groups.length > 0
  list.hidden = groups.length === 0
  setText(byId('no-errors'), `No errors since the proxy started (${formatWhen(startedAt, now)}).`)
  setText(byId('errors-count'), errors.length > 0 ? plain.format(errors.length) : '')
  if (list.dataset['key'] === key) return
  list.dataset['key'] = key
  list.replaceChildren(...groups.map(group => makeError(group, endpoints.length > 1, now)))
}

/** @typedef {{ error: ErrorStatus, count: number, users: Set<string> }} ErrorGroup */

/** Groups equal errors, with their count. @param {ErrorStatus[]} errors @returns {ErrorGroup[]} */
function grouped(errors) {
  /** @type {Map<string, ErrorGroup>} */
  const groups = new Map()
  for (const error of errors) {
    const key = JSON.stringify([error.endpoint, error.code, error.message])
    const group = groups.get(key) ?? { error, count: 0, users: new Set() }
    group.count++
    group.users.add(
      `${error.localUser ?? error.user ?? 'unknown user'} from ${error.client} (session ${error.session})`,
    )
    groups.set(key, group)
  }
  return [...groups.values()]
}

/** @param {ErrorGroup} group @param {boolean} nameEndpoint @param {number} now */
function makeError({ error, count, users }, nameEndpoint, now) {
  const item = make('li')
  const time = make('time', '', formatWhen(error.at, now))
  time.setAttribute('datetime', new Date(error.at).toISOString())
  const text = make('div', 'text')
  const who = [...users].slice(0, 3).join('; ') + (users.size > 3 ? `; and ${users.size - 3} more` : '')
  const about = make('p', 'about')
  about.append(make('code', '', error.code), ` ${nameEndpoint ? `${shortName(error.endpoint)} · ` : ''}${who}`)
  text.append(make('p', 'message', error.message))
  if (error.hint) text.append(make('p', 'hint', error.hint))
  text.append(about)
  item.append(time, text, make('span', 'times', count > 1 ? `${count}×` : ''))
  return item
}
