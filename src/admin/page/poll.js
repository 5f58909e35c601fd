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

async function poll() {
  clearTimeout(timer)
  try {
    const response = await send('/api/status')
    if (response.status === 401) return askForToken()
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    const next = /** @type {Status} */ (await response.json())
    measureRates(next)
    latest = next
    lastStatusAt = Date.now()
    document.body.classList.remove('stale')
    byId('unreachable').hidden = true
    tokenForm.hidden = true
    byId('forget').hidden = sessionStorage.getItem(TOKEN_KEY) === null
    render(latest)
  } catch {
    showUnreachable()
  }
  // A hidden page does not poll until it is visible again.
  if (!document.hidden) timer = setTimeout(poll, POLL_MS)
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
  renderSessions(status)
  renderErrors(status)
}

/** @param {Status} status */
function renderState({ isReady, notReady, version, node, startedAt, now, logLinesDropped, endpoints }) {
  const state = byId('state')
  const reasons = notReady.join('; ')
  setText(state, reasons === '' ? 'Ready' : isReady ? `Ready, except ${reasons}` : `Not ready: ${reasons}`)
  state.dataset['level'] = isReady ? 'good' : 'bad'
  const dropped = logLinesDropped > 0 ? ` · ${plain.format(logLinesDropped)} log lines dropped` : ''
  const versions = `version ${version} · Node.js ${node.replace(/^v/, '')}`
  setText(byId('facts'), `up ${formatSpan(now - startedAt)} · ${versions}${dropped}`)
  const open = endpoints.reduce((sum, { open }) => sum + open, 0)
  document.title = `${isReady ? `${plain.format(open)} open` : 'Not ready'} · mysql-iam-proxy`
}

buildSessionTable()
poll()
