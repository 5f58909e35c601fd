// The table of sessions. The proxy filters and sorts; this shows the result, and closes one session or all of a filter.

const filterInput = /** @type {HTMLInputElement} */ (byId('filter'))
const endpointChoice = /** @type {HTMLSelectElement} */ (byId('endpoint-choice'))
const statusChoice = /** @type {HTMLSelectElement} */ (byId('status-choice'))
const sortChoice = /** @type {HTMLSelectElement} */ (byId('sort-choice'))
const confirmDialog = /** @type {HTMLDialogElement} */ (byId('confirm'))

/** After the last key in the filter. */
const TYPING_MS = 200

/** A transaction without traffic for so long probably blocks others. */
const LONG_TRANSACTION_MS = 60 * SECOND_MS

/** @param {Pick<SessionRow, 'localUser' | 'user'>} session */
function usersOf({ localUser, user }) {
  return localUser === undefined || localUser === user ? user : `${localUser} → ${user}`
}

/** What a session does, and for how long. @param {SessionRow} session */
function describeStatus({ status, quiet = 0, age }) {
  if (status === 'logging in') return `logging in, ${formatSpan(age)}`
  const isLong = quiet >= 2 * SECOND_MS
  if (status === 'idle') return isLong ? `idle for ${formatSpan(quiet)}` : 'idle'
  if (status === 'waiting for an answer') return isLong ? `waiting for ${formatSpan(quiet)}` : 'waiting'
  const what = status === 'in a transaction' ? 'in transaction' : 'open'
  return isLong ? `${what}, idle ${formatSpan(quiet)}` : what
}

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} key  in the status API
 * @property {(session: SessionRow) => string} text
 * @property {boolean} [isNumber]
 */

/** @type {Column[]} */
const COLUMNS = [
  { name: 'User', key: 'user', text: session => usersOf(session) ?? '' },
  { name: 'State', key: 'status', text: describeStatus },
  { name: 'Database', key: 'database', text: ({ database = '' }) => database },
  { name: 'Endpoint', key: 'endpoint', text: ({ endpoint }) => shortName(endpoint) },
  { name: 'Client', key: 'client', text: ({ client }) => client },
  { name: 'Program', key: 'program', text: ({ program = '' }) => program },
  { name: 'TLS', key: 'tls', text: ({ tls = '' }) => tls.replace('TLSv', '') || 'none' },
  { name: 'Session', key: 'session', text: ({ id }) => id },
  { name: 'Thread', key: 'thread', text: ({ threadId = '' }) => String(threadId), isNumber: true },
  { name: 'Age', key: 'age', text: ({ age }) => formatSpan(age), isNumber: true },
  { name: 'Received', key: 'received', text: s => formatBytes(s.bytesFromServer), isNumber: true },
  { name: 'Sent', key: 'sent', text: s => formatBytes(s.bytesFromClient), isNumber: true },
  {
    name: 'Rate',
    key: 'rate',
    text: ({ rate }) => (rate === undefined ? '…' : `${formatBytes(rate)}/s`),
    isNumber: true,
  },
]

/** @type {Map<string, HTMLTableRowElement>} */
const rows = new Map()
/** @type {WeakMap<Element, SessionRow>} */
const sessionOfRow = new WeakMap()
/** whether the user has just sorted or filtered: rows then move, also below the pointer */
let mayReorder = false
/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing

function buildSessionTable() {
  for (const column of COLUMNS) {
    const head = make('th', column.isNumber ? 'number' : '')
    head.setAttribute('scope', 'col')
    head.dataset['column'] = column.name
    const button = make('button', 'sort', column.name)
    button.setAttribute('type', 'button')
    button.addEventListener('click', () => {
      const isSame = view.sort === column.key
      sortBy(column, isSame ? view.order === 'up' : Boolean(column.isNumber))
    })
    head.append(button)
    byId('session-head').append(head)
    const option = /** @type {HTMLOptionElement} */ (make('option', '', column.name))
    option.value = column.key
    sortChoice.append(option)
  }
  const last = make('th')
  last.append(make('span', 'visually-hidden', 'Close'))
  byId('session-head').append(last)
  sortChoice.addEventListener('change', () => {
    const column = COLUMNS.find(({ key }) => key === sortChoice.value)
    if (column) sortBy(column, Boolean(column.isNumber))
  })
  filterInput.value = view.filter
  statusChoice.value = view.status
  filterInput.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(filterChanged, TYPING_MS)
  })
  endpointChoice.addEventListener('change', filterChanged)
  statusChoice.addEventListener('change', filterChanged)
  byId('clear-filter').addEventListener('click', () => {
    filterInput.value = ''
    endpointChoice.value = ''
    statusChoice.value = ''
    filterChanged()
    filterInput.focus()
  })
  byId('more-sessions').addEventListener('click', () => {
    view.rows = Math.min(view.rows + ROWS, MAX_ROWS)
    changeView()
  })
  byId('close-all').addEventListener('click', confirmCloseAll)
  markSort()
}

function filterChanged() {
  clearTimeout(typing)
  const [filter, endpoint, status] = [filterInput.value, endpointChoice.value, statusChoice.value]
  Object.assign(view, { filter, endpoint, status, rows: ROWS })
  mayReorder = true
  changeView()
}

/** @param {Column} column @param {boolean} descending */
function sortBy(column, descending) {
  Object.assign(view, { sort: column.key, order: descending ? 'down' : 'up' })
  markSort()
  mayReorder = true
  changeView()
}

function markSort() {
  sortChoice.value = view.sort
  const sorted = COLUMNS.find(({ key }) => key === view.sort)?.name ?? 'Age'
  for (const head of byId('session-head').children) {
    const isSorted = head instanceof HTMLElement && head.dataset['column'] === sorted
    if (isSorted) head.setAttribute('aria-sort', view.order === 'down' ? 'descending' : 'ascending')
    else head.removeAttribute('aria-sort')
  }
}

const isFiltered = () => [...filterParameters()].length > 0

/** @param {Status} status */
function renderSessions({ sessions, sessionsMatching, sessionsTotal, endpoints, mayClose }) {
  const table = byId('session-table')
  const body = byId('session-rows')
  const ids = new Set(sessions.map(({ id }) => id))
  const focused = document.activeElement?.closest('tr')
  for (const [id, row] of rows) {
    if (ids.has(id)) continue
    row.remove()
    rows.delete(id)
    if (row === focused && !confirmDialog.open) byId('sessions').focus()
  }
  for (const session of sessions) {
    const row = rows.get(session.id) ?? addRow(session)
    sessionOfRow.set(row, session)
    fillRow(row, session)
  }
  // Rows stay in place while the pointer or focus is on them, unless the user sorts or filters.
  const isInUse = body.matches(':hover') || body.contains(document.activeElement) || confirmDialog.open
  if (mayReorder || !isInUse) {
    for (const [index, { id }] of sessions.entries()) {
      const row = /** @type {HTMLTableRowElement} */ (rows.get(id))
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null)
    }
  }
  mayReorder = false
  fillEndpointChoice(endpoints)
  byId('content').classList.toggle('one-endpoint', endpoints.length < 2)
  table.hidden = sessions.length === 0
  byId('sessions').classList.toggle('none', sessionsTotal === 0)
  byId('sessions').classList.toggle('read-only', !mayClose)
  const isPart = sessions.length < sessionsTotal
  const matching = isFiltered() && sessionsMatching < sessionsTotal ? `, ${plain.format(sessionsMatching)} match` : ''
  setText(
    byId('sessions-count'),
    isPart
      ? `${plain.format(sessions.length)} of ${plain.format(sessionsTotal)} shown${matching}`
      : plain.format(sessionsTotal),
  )
  renderButtons(sessions.length, sessionsMatching)
  const none = byId('no-sessions')
  none.hidden = sessions.length > 0
  setText(
    none,
    sessionsTotal > 0 ? 'No session matches the filter.' : `No clients are connected.${howToConnect(endpoints)}`,
  )
}

/** @param {number} shown @param {number} matching */
function renderButtons(shown, matching) {
  const more = byId('more-sessions')
  more.hidden = shown >= matching || shown >= MAX_ROWS
  setText(more, `Show ${Math.min(ROWS, matching - shown)} more`)
  byId('clear-filter').hidden = !isFiltered()
  const closeAll = byId('close-all')
  closeAll.hidden = !isFiltered() || matching === 0
  setText(closeAll, matching === 1 ? 'Close the 1 that matches' : `Close all ${plain.format(matching)} that match`)
}

/** @param {EndpointStatus[]} endpoints */
function fillEndpointChoice(endpoints) {
  const names = [...new Set(endpoints.map(({ name }) => name))]
  if (view.endpoint !== '' && !names.includes(view.endpoint)) names.push(view.endpoint)
  const key = JSON.stringify(names)
  if (endpointChoice.dataset['key'] === key) return
  endpointChoice.dataset['key'] = key
  const options = names.map(name => {
    const option = /** @type {HTMLOptionElement} */ (make('option', '', shortName(name)))
    option.value = name
    return option
  })
  const all = /** @type {HTMLOptionElement} */ (make('option', '', 'All endpoints'))
  all.value = ''
  endpointChoice.replaceChildren(all, ...options)
  endpointChoice.value = view.endpoint
}

/** @param {EndpointStatus[]} endpoints */
function howToConnect(endpoints) {
  const address = endpoints.find(({ address }) => address !== '')?.address
  if (!address) return ''
  if (address.startsWith('unix:')) return ` Try: mysql --socket ${address.slice('unix:'.length)} -u USER`
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '')
  return ` Try: mysql -h ${host} -P ${address.slice(colon + 1)} -u USER`
}

/** @param {SessionRow} session */
function addRow(session) {
  const row = /** @type {HTMLTableRowElement} */ (make('tr'))
  for (const column of COLUMNS) {
    const cell = make('td', column.isNumber ? 'number' : '')
    cell.dataset['column'] = column.name
    row.append(cell)
  }
  const last = make('td', 'action')
  const button = make('button', 'close', 'Close')
  button.setAttribute('type', 'button')
  button.addEventListener('click', () => confirmClose(row))
  last.append(button)
  row.append(last)
  rows.set(session.id, row)
  byId('session-rows').append(row)
  return row
}

/** @param {HTMLTableRowElement} row @param {SessionRow} session */
function fillRow(row, session) {
  row.classList.toggle('pending', session.status === 'logging in')
  const isLong = session.status === 'in a transaction' && (session.quiet ?? 0) >= LONG_TRANSACTION_MS
  row.classList.toggle('long', isLong)
  for (const [index, { text }] of COLUMNS.entries()) {
    const cell = /** @type {HTMLElement} */ (row.children[index])
    const content = text(session)
    setText(cell, content)
    cell.classList.toggle('blank', content === '')
    if (content.length > 16) cell.title = content
  }
  row.querySelector('button')?.setAttribute('aria-label', `Close session of ${nameOf(session)}`)
}

/** @param {SessionRow} session */
function nameOf({ localUser, user, client, threadId }) {
  const who = usersOf({ localUser, user }) ?? 'unknown user'
  return `${who} from ${client}${threadId === undefined ? '' : `, thread ${threadId}`}`
}

/** Asks, and does `work` after a yes. @param {string} title @param {string} who @param {string} label @param {() => Promise<void>} work */
function confirmThen(title, who, label, work) {
  setText(byId('confirm-title'), title)
  setText(byId('confirm-who'), who)
  setText(byId('confirm-close'), label)
  confirmDialog.returnValue = 'cancel'
  confirmDialog.showModal()
  confirmDialog.onclose = async () => {
    if (confirmDialog.returnValue === 'close') await work()
    if (!document.activeElement || document.activeElement === document.body) byId('sessions').focus()
  }
}

/** @param {HTMLTableRowElement} row */
function confirmClose(row) {
  const session = sessionOfRow.get(row)
  if (!session) return
  confirmThen('Close this session?', nameOf(session), 'Close session', () => closeSession(session))
}

function confirmCloseAll() {
  const count = latest?.sessionsMatching ?? 0
  const parameters = filterParameters()
  const what = [...parameters].map(([name, value]) => `${name}: ${name === 'endpoint' ? shortName(value) : value}`)
  const sessions = count === 1 ? '1 session' : `${plain.format(count)} sessions`
  confirmThen(`Close ${sessions}?`, `All with ${what.join(', ')}`, `Close ${sessions}`, () => closeAll(parameters))
}

/** @param {SessionRow} session */
function closeSession(session) {
  const path = `api/sessions/${encodeURIComponent(session.endpoint)}/${session.id}/close`
  return requestClose(path, () => `Closed the session of ${nameOf(session)}.`)
}

/** @param {URLSearchParams} parameters */
function closeAll(parameters) {
  return requestClose(`api/sessions/close?${parameters}`, ({ closed }) => `Closed ${plain.format(closed)} sessions.`)
}

/** @param {string} path @param {(answer: { closed: number }) => string} describe */
async function requestClose(path, describe) {
  try {
    const response = await send(path, 'POST')
    if (response.status === 401) return askForToken()
    if (response.ok) showNotice(describe(await response.json()))
    else if (response.status === 404) showNotice('This session had already ended.')
    else showNotice(`Not closed. The proxy answered: ${await response.text()}`)
    await poll()
  } catch {
    showNotice('Not closed. The proxy did not answer.')
  }
}
