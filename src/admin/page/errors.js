// Recent errors, with hints. The proxy groups equal ones.

const SHOWN_ERRORS = 5
let showsAllErrors = false

byId('more-errors').addEventListener('click', () => {
  showsAllErrors = true
  if (latest) renderErrors(latest)
  byId('errors-section').focus()
})

/** @param {Status} status */
function renderErrors({ errors, endpoints, startedAt, now }) {
  const list = byId('errors')
  const shown = showsAllErrors ? errors : errors.slice(0, SHOWN_ERRORS)
  const more = byId('more-errors')
  more.hidden = shown.length === errors.length
  setText(more, `Show all ${plain.format(errors.length)} kinds`)
  byId('no-errors').hidden = errors.length > 0
  list.hidden = errors.length === 0
  setText(byId('no-errors'), `No errors since the proxy started (${formatWhen(startedAt, now)}).`)
  const count = errors.reduce((sum, { count }) => sum + count, 0)
  setText(byId('errors-count'), count > 0 ? plain.format(count) : '')
  const key = JSON.stringify([shown.map(({ count, at, code }) => [count, at, code]), endpoints.length])
  if (list.dataset['key'] === key) return
  list.dataset['key'] = key
  list.replaceChildren(...shown.map(error => makeError(error, endpoints.length > 1, now)))
}

/** @param {ErrorStatus} error @param {boolean} nameEndpoint @param {number} now */
function makeError(error, nameEndpoint, now) {
  const { count, localUser, user, client, session } = error
  const item = make('li')
  const time = make('time', '', formatWhen(error.at, now))
  time.setAttribute('datetime', new Date(error.at).toISOString())
  const text = make('div', 'text')
  const about = make('p', 'about')
  const who = `${localUser ?? user ?? 'unknown user'} from ${client} (session ${session})`
  about.append(
    make('code', '', error.code),
    ` ${nameEndpoint ? `${shortName(error.endpoint)} · ` : ''}${count > 1 ? 'last: ' : ''}${who}`,
  )
  text.append(make('p', 'message', error.message))
  if (error.hint) text.append(make('p', 'hint', error.hint))
  text.append(about)
  const times = make('p', 'times')
  if (count > 1) times.append(make('strong', '', `${plain.format(count)}×`), ` since ${formatWhen(error.firstAt, now)}`)
  item.append(time, text, times)
  return item
}
