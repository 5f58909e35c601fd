// The table of sessions: sorting, filter and closing.

const filterInput = /** @type {HTMLInputElement} */ (byId('filter'))
const sortChoice = /** @type {HTMLSelectElement} */ (byId('sort-choice'))
const confirmDialog = /** @type {HTMLDialogElement} */ (byId('confirm'))

// Rates are computed between two statuses, on the monotonic clock of the proxy.

/** @type {Map<string, { uptime: number, bytes: number, rate: number | undefined }>} */
let measured = new Map()

/** @param {SessionRow} session */
const keyOf = session => session.id

/** @param {SessionRow} session */
const bytesOf = session => session.bytesFromClient + session.bytesFromServer

/** @param {Status} next */
function measureRates(next) {
  measured = new Map(
    next.sessions.map(session => {
      const before = measured.get(keyOf(session))
      const bytes = bytesOf(session)
      const seconds = before ? (next.uptime - before.uptime) / SECOND_MS : 0
      const rate = before && seconds > 0 ? Math.max(0, (bytes - before.bytes) / seconds) : undefined
      return [keyOf(session), { uptime: next.uptime, bytes, rate }]
    }),
  )
}

/** @param {SessionRow} session */
const rateOf = session => measured.get(keyOf(session))?.rate

/** @param {SessionRow} session */
function usersOf({ localUser, user }) {
  return localUser === undefined || localUser === user ? user : `${localUser} → ${user}`
}

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {(session: SessionRow) => string | number | undefined} value  for sorting and the filter
 * @property {(session: SessionRow, now: number) => string} [text]
 * @property {boolean} [isNumber]
 */

/** @type {Column[]} */
const COLUMNS = [
  {
    name: 'User',
    value: usersOf,
    text: session => usersOf(session) ?? (session.phase === 'open' ? '' : 'logging in…'),
  },
  { name: 'Database', value: ({ database }) => database },
  { name: 'Client', value: ({ client }) => client },
  { name: 'Program', value: ({ program }) => program },
  { name: 'Endpoint', value: ({ endpoint }) => shortName(endpoint) },
  { name: 'Session', value: ({ id }) => id },
  { name: 'Thread', value: ({ threadId }) => threadId, isNumber: true },
  { name: 'Age', value: ({ since }) => -since, text: ({ since }, now) => formatSpan(now - since), isNumber: true },
  { name: 'Received', value: s => s.bytesFromServer, text: s => formatBytes(s.bytesFromServer), isNumber: true },
  { name: 'Sent', value: s => s.bytesFromClient, text: s => formatBytes(s.bytesFromClient), isNumber: true },
  {
    name: 'Rate',
    value: rateOf,
    text: s => (rateOf(s) === undefined ? '…' : `${formatBytes(rateOf(s) ?? 0)}/s`),
    isNumber: true,
  },
]

const sort = { column: /** @type {Column} */ (COLUMNS.find(({ name }) => name === 'Age')), descending: true }

/** @type {Map<string, HTMLTableRowElement>} */
const rows = new Map()
/** @type {WeakMap<Element, SessionRow>} */
const sessionOfRow = new WeakMap()

function buildSessionTable() {
  for (const column of COLUMNS) {
    const head = make('th', column.isNumber ? 'number' : '')
    head.setAttribute('scope', 'col')
    head.dataset['column'] = column.name
    const button = make('button', 'sort', column.name)
    button.setAttribute('type', 'button')
    button.addEventListener('click', () =>
      sortBy(column, sort.column === column ? !sort.descending : Boolean(column.isNumber)),
    )
    head.append(button)
    byId('session-head').append(head)
    const option = make('option', '', column.name)
    sortChoice.append(option)
  }
  const last = make('th')
  last.append(make('span', 'visually-hidden', 'Close'))
  byId('session-head').append(last)
  sortChoice.addEventListener('change', () => {
    const column = COLUMNS.find(({ name }) => name === sortChoice.value)
    if (column) sortBy(column, Boolean(column.isNumber))
  })
  filterInput.addEventListener('input', () => latest && renderSessions(latest, true))
  markSort()
}

/** @param {Column} column @param {boolean} descending */
function sortBy(column, descending) {
  Object.assign(sort, { column, descending })
  markSort()
  if (latest) renderSessions(latest, true)
}

function markSort() {
  sortChoice.value = sort.column.name
  for (const head of byId('session-head').children) {
    const isSorted = head instanceof HTMLElement && head.dataset['column'] === sort.column.name
    if (isSorted) head.setAttribute('aria-sort', sort.descending ? 'descending' : 'ascending')
    else head.removeAttribute('aria-sort')
  }
}

/** @param {SessionRow} left @param {SessionRow} right */
function compare(left, right) {
  const a = sort.column.value(left)
  const b = sort.column.value(right)
  // Rows without a value come last in both directions.
  if (a === undefined || b === undefined)
    return Number(a === undefined) - Number(b === undefined) || compareIds(left, right)
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b))
  return (sort.descending ? -order : order) || compareIds(left, right)
}

/** Ids end with a count. @param {SessionRow} left @param {SessionRow} right */
function compareIds(left, right) {
  return left.id.localeCompare(right.id, 'en', { numeric: true })
}

/** @param {SessionRow} session @param {string} wanted */
function matches(session, wanted) {
  if (wanted === '') return true
  const { id, localUser, user, database, client, program, endpoint, threadId } = session
  return [id, localUser, user, database, client, program, endpoint, threadId].some(value =>
    String(value ?? '')
      .toLowerCase()
      .includes(wanted),
  )
}

/** @param {Status} status @param {boolean} [mayReorder] */
function renderSessions({ sessions, endpoints, now }, mayReorder = false) {
  const table = byId('session-table')
  const body = byId('session-rows')
  const wanted = filterInput.value.trim().toLowerCase()
  const shown = sessions.filter(session => matches(session, wanted)).sort(compare)
  const keys = new Set(shown.map(keyOf))
  const focused = document.activeElement?.closest('tr')
  for (const [key, row] of rows) {
    if (keys.has(key)) continue
    row.remove()
    rows.delete(key)
    if (row === focused && !confirmDialog.open) byId('sessions').focus()
  }
  for (const session of shown) {
    const row = rows.get(keyOf(session)) ?? addRow(session)
    sessionOfRow.set(row, session)
    fillRow(row, session, now)
  }
  // Rows stay in place while the pointer or focus is on them, unless the user sorts or filters.
  const isInUse = body.matches(':hover') || body.contains(document.activeElement) || confirmDialog.open
  if (mayReorder || !isInUse) {
    for (const [index, session] of shown.entries()) {
      const row = /** @type {HTMLTableRowElement} */ (rows.get(keyOf(session)))
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null)
    }
  }
  table.classList.toggle('one-endpoint', endpoints.length < 2)
  table.hidden = shown.length === 0
  byId('sessions').classList.toggle('none', sessions.length === 0)
  const all = endpoints.reduce((sum, { open, loggingIn }) => sum + open + loggingIn, 0)
  const isPart = shown.length < all
  setText(
    byId('sessions-count'),
    isPart ? `${plain.format(shown.length)} of ${plain.format(all)} shown` : plain.format(all),
  )
  const none = byId('no-sessions')
  none.hidden = shown.length > 0
  setText(
    none,
    sessions.length > 0
      ? `No session matches “${filterInput.value.trim()}”.`
      : `No clients are connected.${howToConnect(endpoints)}`,
  )
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
  rows.set(keyOf(session), row)
  byId('session-rows').append(row)
  return row
}

/** @param {HTMLTableRowElement} row @param {SessionRow} session @param {number} now */
function fillRow(row, session, now) {
  row.classList.toggle('pending', session.phase !== 'open')
  for (const [index, { text, value }] of COLUMNS.entries()) {
    const cell = /** @type {HTMLElement} */ (row.children[index])
    const content = text ? text(session, now) : String(value(session) ?? '')
    setText(cell, content)
    cell.classList.toggle('blank', content === '')
    if (content.length > 24) cell.title = content
  }
  row.querySelector('button')?.setAttribute('aria-label', `Close session of ${nameOf(session)}`)
}

/** @param {SessionRow} session */
function nameOf({ user, client, threadId }) {
  return `${user ?? 'unknown user'} from ${client}${threadId === undefined ? '' : `, thread ${threadId}`}`
}

/** @param {HTMLTableRowElement} row */
function confirmClose(row) {
  const session = sessionOfRow.get(row)
  if (!session) return
  setText(byId('confirm-who'), nameOf(session))
  confirmDialog.returnValue = 'cancel'
  confirmDialog.showModal()
  confirmDialog.onclose = async () => {
    if (confirmDialog.returnValue === 'close') await closeSession(session)
    if (!row.isConnected) byId('sessions').focus()
  }
}

/** @param {SessionRow} session */
async function closeSession(session) {
  try {
    const response = await send(`/api/sessions/${encodeURIComponent(session.endpoint)}/${session.id}/close`, 'POST')
    if (response.status === 401) return askForToken()
    if (response.ok) showNotice(`Closed the session of ${nameOf(session)}.`)
    else if (response.status === 404) showNotice('This session had already ended.')
    else showNotice(`Session not closed. The proxy answered: ${await response.text()}`)
    await poll()
  } catch {
    showNotice('Session not closed. The proxy did not answer.')
  }
}
