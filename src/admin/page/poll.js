// Asks the proxy every other second and shows what it says; asks for the token where it wants one.

const POLL = 2 * SECOND
const TIMEOUT = 5 * SECOND
const TOKEN_KEY = 'mysql-iam-proxy admin token'

const tokenForm = byId('token-form')
const tokenInput = /** @type {HTMLInputElement} */ (byId('token'))

/** @param {string} path @param {'GET' | 'POST'} [method] */
async function ask(path, method = 'GET') {
  const token = sessionStorage.getItem(TOKEN_KEY)
  return await fetch(path, {
    method,
    cache: 'no-store',
    signal: AbortSignal.timeout(TIMEOUT),
    headers: token ? { authorization: `Bearer ${token}` } : {},
  })
}

/** The proxy's last answer. @type {Status | undefined} */
let latest
/** of this machine's clock; its own and the proxy's may differ */
let lastHeard = Date.now()
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer

async function poll() {
  clearTimeout(timer)
  try {
    const response = await ask('/api/status')
    if (response.status === 401) return askForToken()
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    const next = /** @type {Status} */ (await response.json())
    measureRates(next)
    latest = next
    lastHeard = Date.now()
    document.body.classList.remove('stale')
    byId('gone').hidden = true
    tokenForm.hidden = true
    byId('forget').hidden = sessionStorage.getItem(TOKEN_KEY) === null
    render(latest)
  } catch {
    showGone()
  }
  // A hidden page needs no news; it asks when it is looked at again.
  if (!document.hidden) timer = setTimeout(poll, POLL)
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && tokenForm.hidden) poll()
})

function showGone() {
  document.body.classList.add('stale')
  say(byId('state'), 'Not reachable')
  byId('state').dataset['level'] = 'bad'
  byId('gone').hidden = false
  const since = `Not reachable since ${clock.format(lastHeard)}.`
  say(
    byId('gone'),
    `${since} ${latest ? 'What is below is from then. ' : ''}Trying again every ${POLL / SECOND} seconds.`,
  )
  document.title = 'Not reachable · mysql-iam-proxy'
}

function askForToken() {
  const wasRefused = sessionStorage.getItem(TOKEN_KEY) !== null
  sessionStorage.removeItem(TOKEN_KEY)
  say(byId('token-error'), wasRefused ? 'The proxy did not accept this token.' : '')
  say(byId('state'), 'Locked')
  delete byId('state').dataset['level']
  say(byId('facts'), '')
  byId('gone').hidden = true
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
function renderState({ notReady, version, node, startedAt, now, endpoints }) {
  const state = byId('state')
  const isReady = notReady.length === 0
  say(state, isReady ? 'Ready' : `Not ready: ${notReady.join('; ')}`)
  state.dataset['level'] = isReady ? 'good' : 'bad'
  say(byId('facts'), `up ${formatSpan(now - startedAt)} · version ${version} · Node.js ${node.replace(/^v/, '')}`)
  const open = endpoints.reduce((sum, { open }) => sum + open, 0)
  document.title = `${isReady ? `${plain.format(open)} open` : 'Not ready'} · mysql-iam-proxy`
}

buildSessionTable()
poll()
