// Requests the status every two seconds and shows it. Shows the form for the token if the proxy requires one.

const POLL_MS = 2 * SECOND_MS
const TIMEOUT_MS = 5 * SECOND_MS
const TOKEN_KEY = 'mysql-iam-proxy admin token'

const tokenForm = byId('token-form')
const tokenInput = /** @type {HTMLInputElement} */ (byId('token'))

/** @param {string} path @param {'GET' | 'POST'} [method] */
async function send(path, method = 'GET') {
  const token = sessionStorage.getItem(TOKEN_KEY)
  return await fetch(path, {
    method,
    cache: 'no-store',
    signal: AbortSignal.timeout(TIMEOUT_MS),
    headers: token ? { authorization: `Bearer ${token}` } : {},
  })
}

/** The newest status. @type {Status | undefined} */
let latest
/** When the newest status came, by the clock of the browser, which can differ from the clock of the proxy. */
let lastStatusAt = Date.now()
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer

/** Counts requests, so that a late answer does not replace that of a newer request. */
let lastPoll = 0

async function poll() {
  clearTimeout(timer)
  const thisPoll = ++lastPoll
  try {
    const response = await send(`api/status?${statusParameters()}`)
    if (thisPoll !== lastPoll) return
    if (response.status === 401) return askForToken()
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    const next = /** @type {Status} */ (await response.json())
    if (thisPoll !== lastPoll) return
    latest = next
    lastStatusAt = Date.now()
    document.body.classList.remove('stale')
    byId('unreachable').hidden = true
    tokenForm.hidden = true
    byId('forget').hidden = sessionStorage.getItem(TOKEN_KEY) === null
    render(latest)
  } catch {
    if (thisPoll !== lastPoll) return
    showUnreachable()
  }
  // A hidden page does not poll until it is visible again.
  if (!document.hidden) timer = setTimeout(poll, POLL_MS)
}

/** The histories of closed details are left out: they are most of an answer. */
function statusParameters() {
  const parameters = viewParameters()
  const names = latest?.endpoints.map(({ name }) => name)
  if (!names || parameters.has('open')) return parameters
  const open = names.filter(name => isOpen(name, names.length))
  for (const name of open.length > 0 ? open : ['']) parameters.append('open', name)
  return parameters
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && tokenForm.hidden) poll()
})

function showUnreachable() {
  document.body.classList.add('stale')
  setText(byId('state'), 'Unreachable')
  byId('state').dataset['level'] = 'bad'
  byId('unreachable').hidden = false
  const since = `Unreachable since ${clock.format(lastStatusAt)}.`
  setText(
    byId('unreachable'),
    `${since} ${latest ? 'This page shows the status at that time. ' : ''}Retrying every ${POLL_MS / SECOND_MS} seconds.`,
  )
  document.title = 'Unreachable · mysql-iam-proxy'
  setIcon('bad')
}

function askForToken() {
  const wasRefused = sessionStorage.getItem(TOKEN_KEY) !== null
  sessionStorage.removeItem(TOKEN_KEY)
  setText(byId('token-error'), wasRefused ? 'The proxy did not accept this token.' : '')
  setText(byId('state'), 'Locked')
  delete byId('state').dataset['level']
  setText(byId('facts'), '')
  byId('unreachable').hidden = true
  byId('content').hidden = true
  if (confirmDialog.open) confirmDialog.close('cancel')
  tokenForm.hidden = false
  tokenInput.focus()
}

tokenForm.addEventListener('submit', event => {
  event.preventDefault()
  sessionStorage.setItem(TOKEN_KEY, tokenInput.value.trim())
  tokenInput.value = ''
  poll()
})

byId('forget').addEventListener('click', () => {
  sessionStorage.removeItem(TOKEN_KEY)
  latest = undefined
  poll()
})

/** @param {Status} status */
function render(status) {
  byId('content').hidden = false
  renderState(status)
  renderEndpoints(status)
  renderErrors(status)
  renderSessions(status)
}

/** @param {Status} status */
function renderState(status) {
  const { version, node, startedAt, now, logLinesDropped, drainingSessions, endpoints, sessionsTotal } = status
  const { level, text, title } = overallState(status)
  const state = byId('state')
  setText(state, text)
  state.dataset['level'] = level
  const dropped = logLinesDropped > 0 ? ` · ${plain.format(logLinesDropped)} log lines dropped` : ''
  const versions = `version ${version} · Node.js ${node.replace(/^v/, '')}`
  setText(byId('facts'), `up ${formatSpan(now - startedAt)} · ${versions}${dropped}`)
  const draining =
    drainingSessions > 0 ? ` · previous process draining: ${plain.format(drainingSessions)} sessions` : ''
  const limit = status.sessionsLimit === undefined ? '' : ` of at most ${plain.format(status.sessionsLimit)}`
  const memory = `memory ${formatBytes(status.memory)} · event loop ${Math.round(100 * status.busy)} % busy`
  setText(
    byId('process'),
    `Process ${status.pid} · ${memory} · ${plain.format(sessionsTotal)}${limit} connections${draining}`,
  )
  const open = endpoints.reduce((sum, { open }) => sum + open, 0)
  document.title = `${title || `${plain.format(open)} open`} · mysql-iam-proxy`
  setIcon(level)
}

/** The worst of the process and its endpoints. @param {Status} status @returns {{ level: Level, text: string, title: string }} */
function overallState({ isReady, notReady, endpoints }) {
  shortenNames(endpoints)
  const bad = withLevel(endpoints, 'bad')
  if (notReady.length > 0) {
    const reasons = `${isReady ? 'Ready, except' : 'Not ready:'} ${notReady.join('; ')}`
    // The other bad states are among the reasons.
    const failing = withLevel(
      endpoints.filter(({ word }) => word === 'Every login fails'),
      'bad',
    )
    return { level: 'bad', text: failing ? `${reasons}. ${failing}` : reasons, title: bad || 'Not ready' }
  }
  if (bad) return { level: 'bad', text: bad, title: bad }
  const soon = withLevel(endpoints, 'soon')
  if (soon) return { level: 'soon', text: `Ready. ${soon}`, title: soon }
  return { level: 'good', text: 'Ready', title: '' }
}

/** Words with the names of the endpoints. @param {EndpointStatus[]} endpoints @param {Level} level */
function withLevel(endpoints, level) {
  /** @type {Map<string, string[]>} */
  const names = new Map()
  for (const endpoint of endpoints) {
    if (endpoint.level !== level) continue
    names.set(endpoint.word, [...(names.get(endpoint.word) ?? []), shortName(endpoint.name)])
  }
  return [...names]
    .map(([word, all]) => `${word}: ${all.length > 3 ? `${all.length} endpoints` : all.join(', ')}`)
    .join('; ')
}

/** The icon has another shape for each level, for those who do not see its colour. @type {Partial<Record<Level, string>>} */
const ICONS = {
  good: "<circle cx='8' cy='8' r='6' fill='#0f766e'/>",
  soon: "<path d='M8 1l7 7-7 7-7-7z' fill='#b87400'/>",
  bad: "<path d='M1 1h14v14H1z' fill='#b42318'/><path d='M5 5l6 6M11 5l-6 6' stroke='#fff' stroke-width='2'/>",
}

/** @param {Level} level */
function setIcon(level) {
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${ICONS[level] ?? ICONS.good}</svg>`
  const icon = /** @type {HTMLLinkElement} */ (byId('icon'))
  const href = `data:image/svg+xml,${encodeURIComponent(svg)}`
  if (icon.href !== href) icon.href = href
}

buildRangeChoice()
buildSessionTable()
poll()
