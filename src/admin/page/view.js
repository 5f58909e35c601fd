// What the page shows, kept in its address, so that a link shows the same. The names are those of the status API.

/** @typedef {import('../history.ts').Range} HistoryRange */

const ROWS = 50
const MAX_ROWS = 1_000

/** @type {Record<HistoryRange, { span: number, slotMs: number, slot: string, name: string }>} */
const RANGES = {
  '5m': { span: 5 * MINUTE_MS, slotMs: 2 * SECOND_MS, slot: '2 s', name: '5 minutes' },
  '1h': { span: HOUR_MS, slotMs: 20 * SECOND_MS, slot: '20 s', name: '1 hour' },
  '6h': { span: 6 * HOUR_MS, slotMs: 2 * MINUTE_MS, slot: '2 min', name: '6 hours' },
  '24h': { span: DAY_MS, slotMs: 8 * MINUTE_MS, slot: '8 min', name: '24 hours' },
}

const view = readView(new URLSearchParams(location.search))

/** @param {URLSearchParams} parameters */
function readView(parameters) {
  const range = parameters.get('range') ?? ''
  const rows = Number(parameters.get('rows') ?? ROWS)
  return {
    /** the endpoints whose details are open; undefined: a single one is open @type {Set<string> | undefined} */
    open: parameters.has('open') ? new Set(parameters.getAll('open').filter(Boolean)) : undefined,
    range: /** @type {HistoryRange} */ (Object.hasOwn(RANGES, range) ? range : '5m'),
    filter: parameters.get('filter') ?? '',
    endpoint: parameters.get('endpoint') ?? '',
    status: parameters.get('status') ?? '',
    sort: parameters.get('sort') ?? 'age',
    order: parameters.get('order') === 'up' ? 'up' : 'down',
    rows: Number.isInteger(rows) && rows > 0 ? Math.min(rows, MAX_ROWS) : ROWS,
  }
}

/** The parameters that differ from the defaults. */
function viewParameters() {
  const { open, range, filter, endpoint, status, sort, order, rows } = view
  const parameters = new URLSearchParams()
  if (range !== '5m') parameters.set('range', range)
  if (filter.trim() !== '') parameters.set('filter', filter.trim())
  if (endpoint !== '') parameters.set('endpoint', endpoint)
  if (status !== '') parameters.set('status', status)
  if (sort !== 'age') parameters.set('sort', sort)
  if (order !== 'down') parameters.set('order', order)
  if (rows !== ROWS) parameters.set('rows', String(rows))
  if (open) for (const name of open.size > 0 ? open : ['']) parameters.append('open', name)
  return parameters
}

/** The filter alone, for closing what it shows. */
function filterParameters() {
  const parameters = viewParameters()
  for (const name of ['range', 'sort', 'order', 'rows', 'open']) parameters.delete(name)
  return parameters
}

/** Puts the view into the address, and requests what it shows now. */
function changeView() {
  const query = viewParameters().toString()
  history.replaceState(null, '', query === '' ? location.pathname : `?${query}`)
  return poll()
}

/** @param {string} name @param {number} endpoints how many there are */
function isOpen(name, endpoints) {
  return view.open ? view.open.has(name) : endpoints === 1
}
