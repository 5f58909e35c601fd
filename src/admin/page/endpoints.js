// The table of endpoints: a row for each, its problems, and its details on demand.

const rowTemplate = /** @type {HTMLTemplateElement} */ (byId('endpoint-template'))
const rangeChoice = /** @type {HTMLSelectElement} */ (byId('range'))

/** @typedef {{ body: HTMLElement, at: (name: string) => HTMLElement, login: Chart, outcome: Chart, rate: Chart }} EndpointView */

/** @type {Map<string, EndpointView>} */
const endpointViews = new Map()

/** @type {Map<string, string>} */
let shortNames = new Map()

/** Shortens names that are RDS endpoints to their first label, unless two endpoints have the same one. @param {EndpointStatus[]} endpoints */
function shortenNames(endpoints) {
  /** @param {EndpointStatus} endpoint */
  const shorten = ({ name, rds }) => (rds.startsWith(name) ? (name.split('.')[0] ?? name) : name)
  shortNames = new Map(endpoints.map(endpoint => [endpoint.name, shorten(endpoint)]))
  const all = [...shortNames.values()]
  for (const [name, short] of shortNames) if (all.indexOf(short) !== all.lastIndexOf(short)) shortNames.set(name, name)
}

/** @param {string} name */
const shortName = name => shortNames.get(name) ?? name

function buildRangeChoice() {
  for (const [range, { name }] of Object.entries(RANGES)) {
    const option = /** @type {HTMLOptionElement} */ (make('option', '', name))
    option.value = range
    rangeChoice.append(option)
  }
  rangeChoice.value = view.range
  rangeChoice.addEventListener('change', () => {
    view.range = /** @type {HistoryRange} */ (rangeChoice.value)
    changeView()
  })
}

/** @param {Status} status */
function renderEndpoints(status) {
  const table = byId('endpoint-table')
  // The key includes the address: after a reload, an endpoint can appear twice, current and retired.
  const keys = status.endpoints.map(({ name, address }) => JSON.stringify([name, address]))
  for (const [key, { body }] of endpointViews) {
    if (keys.includes(key)) continue
    body.remove()
    endpointViews.delete(key)
  }
  shortenNames(status.endpoints)
  for (const [index, endpoint] of status.endpoints.entries()) {
    const key = keys[index] ?? ''
    const view = endpointViews.get(key) ?? addEndpoint(key, endpoint.name, table)
    renderEndpoint(view, endpoint, status)
  }
  table.hidden = status.endpoints.length === 0
  byId('no-endpoints').hidden = status.endpoints.length > 0
}

let endpointCount = 0

/** @param {string} key @param {string} name @param {HTMLElement} table @returns {EndpointView} */
function addEndpoint(key, name, table) {
  const body = /** @type {HTMLElement} */ (
    /** @type {DocumentFragment} */ (rowTemplate.content.cloneNode(true)).firstElementChild
  )
  /** @param {string} name */
  const at = name => /** @type {HTMLElement} */ (body.querySelector(`[data-at="${name}"]`))
  const details = at('details')
  details.id = `endpoint-details-${++endpointCount}`
  at('name').setAttribute('aria-controls', details.id)
  at('name').addEventListener('click', () => toggle(name))
  const login = createChart('Login time', at('login-plot'), at('login-now'), formatMs)
  const outcome = createChart('Logins', at('outcome-plot'), at('outcome-now'), value => plain.format(value))
  const rate = createChart('Throughput', at('rate-plot'), at('rate-now'), value => `${formatBytes(value)}/s`)
  const view = { body, at, login, outcome, rate }
  table.append(body)
  endpointViews.set(key, view)
  return view
}

/** Opens or closes the details of an endpoint. @param {string} name */
function toggle(name) {
  const endpoints = latest?.endpoints ?? []
  const open = new Set(endpoints.map(({ name }) => name).filter(name => isOpen(name, endpoints.length)))
  if (!open.delete(name)) open.add(name)
  view.open = open
  if (latest) renderEndpoints(latest)
  changeView()
}

/** @param {EndpointView} endpointView @param {EndpointStatus} endpoint @param {Status} status */
function renderEndpoint(endpointView, endpoint, { now, endpoints }) {
  const { body, at } = endpointView
  const { open, maxConnections, loggingIn, lastMinute, loginTime, name } = endpoint
  at('row').dataset['level'] = endpoint.level
  setText(at('word'), endpoint.word)
  setText(at('name'), shortName(name))
  setText(at('open'), plain.format(open))
  setText(at('limit'), maxConnections > 0 ? ` of ${plain.format(maxConnections)}` : '')
  setText(at('rate'), plain.format(lastMinute.logins))
  setText(at('failures'), plain.format(lastMinute.failed))
  at('failures').classList.toggle('bad', lastMinute.failed > 0)
  setText(at('p50'), loginTime ? formatMs(loginTime.median) : '–')
  setText(at('p95'), loginTime ? formatMs(loginTime.p95) : '–')
  setText(at('received'), formatBytes(endpoint.bytesFromServer))
  setText(at('sent'), formatBytes(endpoint.bytesFromClient))
  const expiries = expiriesOf(endpoint, now)
  showShort(at('credentials'), expiries[0])
  showShort(at('certificate'), expiries.slice(1).sort((left, right) => left.end - right.end)[0])
  renderProblems(at('problems'), endpoint.problems)

  const isShown = isOpen(name, endpoints.length)
  at('name').setAttribute('aria-expanded', String(isShown))
  at('details').hidden = !isShown
  body.classList.toggle('open', isShown)
  if (isShown) renderDetails(endpointView, endpoint, loggingIn, now, expiries)
}

/** @param {HTMLElement} cell @param {Expiry | undefined} expiry */
function showShort(cell, expiry) {
  setText(cell, expiry?.short ?? '–')
  cell.dataset['level'] = expiry?.level ?? 'unknown'
  cell.title = expiry ? `${expiry.what} ${expiry.when}` : ''
}

/** @param {HTMLElement} row @param {EndpointStatus['problems']} problems */
function renderProblems(row, problems) {
  row.hidden = problems.length === 0
  const key = JSON.stringify(problems)
  if (row.dataset['key'] === key) return
  row.dataset['key'] = key
  const list = /** @type {Element} */ (row.querySelector('ul'))
  list.replaceChildren(...problems.map(makeProblem))
}

/** @param {EndpointStatus['problems'][number]} problem */
function makeProblem({ level, what, since, advice, command, link }) {
  const item = make('li')
  item.dataset['level'] = level
  item.append(
    make('strong', '', since === undefined ? `${what}.` : `${what}, since ${formatWhen(since, Date.now())}.`),
    ` ${advice}`,
  )
  if (link !== undefined && /^https?:/.test(link)) {
    const line = make('p', 'command')
    const anchor = /** @type {HTMLAnchorElement} */ (make('a', '', link))
    Object.assign(anchor, { href: link, target: '_blank', rel: 'noopener noreferrer' })
    line.append(anchor)
    item.append(line)
  }
  if (command === undefined) return item
  const line = make('p', 'command')
  const code = make('code', '', command)
  const button = make('button', '', 'Copy')
  button.setAttribute('type', 'button')
  button.setAttribute('aria-label', `Copy the command ${command}`)
  button.addEventListener('click', () => copy(code))
  line.append(code, ' ', button)
  item.append(line)
  return item
}

/** Copies the text of an element. Beyond loopback, a browser without TLS allows only the selection. @param {Element} element */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? '')
    showNotice('Copied.')
  } catch {
    getSelection()?.selectAllChildren(element)
    showNotice('Selected. Copy it with the keyboard.')
  }
}

/** @param {EndpointView} view @param {EndpointStatus} endpoint @param {number} loggingIn @param {number} now @param {Expiry[]} expiries */
function renderDetails({ at, login, outcome, rate }, endpoint, loggingIn, now, expiries) {
  const { open, maxConnections, loginsFailed, loginTime, history, peaks, longestLogin } = endpoint
  setText(
    at('address'),
    endpoint.retired ? 'no longer listening; its last sessions are still open' : endpoint.address || 'not listening',
  )
  const { tunnel } = endpoint
  const direct = tunnel ? endpoint.dial : 'the RDS endpoint, directly'
  const restarts = tunnel?.restarts ? `, ${plain.format(tunnel.restarts)} restarts` : ''
  const way = tunnel ? `, through ${tunnel.name}: ${tunnel.word} since ${formatWhen(tunnel.since, now)}${restarts}` : ''
  setText(at('dial'), (endpoint.dial === endpoint.rds ? direct : endpoint.dial) + way)
  setText(at('rds'), `${endpoint.rds} in ${endpoint.region}`)
  setText(at('user'), endpoint.user ?? 'chosen by each client')
  const compression = describeCompression(endpoint)
  at('compression-row').hidden = compression === ''
  setText(at('compression'), compression)

  setText(at('sessions'), plain.format(open))
  setText(
    at('sessions-of'),
    `${maxConnections > 0 ? `of ${plain.format(maxConnections)}` : 'no limit'}, peak ${plain.format(peaks.sessions)}`,
  )
  const meter = /** @type {HTMLMeterElement} */ (at('meter'))
  meter.hidden = maxConnections === 0
  Object.assign(meter, { max: maxConnections || 1, high: maxConnections * 0.8, optimum: 0, value: open + loggingIn })
  setText(at('logins'), plain.format(endpoint.loginsOK))
  setText(at('failed'), loginsFailed > 0 ? `and ${plain.format(loginsFailed)} failed` : 'none failed')
  at('failed').classList.toggle('bad', loginsFailed > 0)
  const last = endpoint.lastLogin === undefined ? '' : `, last at ${formatWhen(endpoint.lastLogin, now)}`
  setText(at('last-login'), `peak ${plain.format(peaks.loginsPerMinute)} a minute${last}`)
  setText(at('waiting'), plain.format(endpoint.waiting))
  const longest =
    longestLogin === undefined
      ? ''
      : `, the longest for ${longestLogin >= MINUTE_MS ? formatSpan(longestLogin) : formatMs(longestLogin)}`
  setText(at('logging-in'), `of ${plain.format(loggingIn)} logging in${longest}; peak ${plain.format(peaks.waiting)}`)
  setText(at('bytes'), formatBytes(endpoint.bytesFromServer))
  setText(at('bytes-sent'), `${formatBytes(endpoint.bytesFromClient)} sent`)

  setText(at('slot'), `per ${RANGES[view.range].slot}`)
  const phases = Object.entries(endpoint.phaseTimes).sort(([, left], [, right]) => right - left)
  showList(
    at('phases'),
    'Median of each phase:',
    phases.map(([phase, ms]) => `${phase} ${formatMs(ms)}`),
  )
  const failures = Object.entries(endpoint.failures).sort(([, left], [, right]) => right - left)
  showList(
    at('codes'),
    'Failed logins:',
    failures.map(([code, count]) => `${code} ${plain.format(count)}`),
  )
  drawLogins(login, history, loginTime, now)
  drawOutcomes(outcome, history, endpoint.lastMinute, now)
  drawRates(rate, history, now)
  renderExpiries(at('expiries'), expiries)
}

/** What new sessions get and why, and what it has saved; '' without compression. @param {EndpointStatus} endpoint */
function describeCompression({ compression, ...bytes }) {
  const all = bytes.bytesFromServer + bytes.bytesFromClient
  const line = bytes.lineBytesFromServer + bytes.lineBytesFromClient
  const saved = line < all ? `${formatBytes(line)} over the line instead of ${formatBytes(all)}` : ''
  if (!compression) return saved
  const { setting, next, why, bytesPerSecond } = compression
  const rate =
    bytesPerSecond === undefined ? '' : `a session got up to ${formatBytes(bytesPerSecond)}/s in the last hour`
  const decision = `${setting === 'auto' ? 'auto: ' : ''}${next ?? 'none'}`
  return [decision, why, rate, saved].filter(Boolean).join('; ')
}

/** @param {HTMLElement} element @param {string} title @param {string[]} items */
function showList(element, title, items) {
  element.hidden = items.length === 0
  setText(element, `${title} ${items.join(', ')}`)
}

/** @typedef {'good' | 'soon' | 'bad' | 'unknown'} Level */
/** @typedef {{ what: string, when: string, short: string, level: Level, end: number }} Expiry  end: when, in ms of the epoch */

/** The credentials first. @param {EndpointStatus} endpoint @param {number} now @returns {Expiry[]} */
function expiriesOf(endpoint, now) {
  const { credentialsExpire, credentialsFailed, certificateExpires, localCertificateExpires } = endpoint
  const { rolesAnywhereCertificateExpires } = endpoint
  const items = [describeCredentials(credentialsExpire, credentialsFailed, now)]
  const end = Number.POSITIVE_INFINITY
  if (certificateExpires !== undefined) items.push(certificate('Database certificate', certificateExpires, now))
  else
    items.push({
      what: 'Database certificate',
      when: 'unknown until the first login',
      short: 'unknown',
      level: 'unknown',
      end,
    })
  if (localCertificateExpires !== undefined)
    items.push(certificate('Certificate for clients', localCertificateExpires, now))
  if (rolesAnywhereCertificateExpires !== undefined)
    items.push(certificate('Certificate for IAM Roles Anywhere', rolesAnywhereCertificateExpires, now, DAY_MS / 4, 0))
  return items
}

/** @param {HTMLElement} list @param {Expiry[]} items */
function renderExpiries(list, items) {
  while (list.children.length > items.length) list.lastElementChild?.remove()
  for (const [index, { what, when, level }] of items.entries()) {
    const item = /** @type {HTMLElement} */ (list.children[index] ?? list.appendChild(makeExpiry()))
    item.dataset['level'] = level
    setText(/** @type {Element} */ (item.children[0]), what)
    setText(/** @type {Element} */ (item.children[1]), when)
  }
}

/**
 * Logins renew credentials. So expired credentials are normal without logins, but a failed request for new ones is not.
 * @param {number | undefined} expire @param {boolean} failed @param {number} now @returns {Expiry}
 */
function describeCredentials(expire, failed, now) {
  const what = 'AWS credentials'
  const end = expire ?? Number.POSITIVE_INFINITY
  const isGood = expire !== undefined && expire > now
  const left = isGood ? `in ${roughSpan(expire - now)}` : ''
  if (failed && isGood)
    return { what, when: `renewal failed; expire ${describeExpiry(expire, now)}`, short: left, level: 'soon', end }
  if (failed) return { what, when: 'unavailable; see the errors below', short: 'unavailable', level: 'bad', end }
  if (expire === undefined)
    return { what, when: 'no expiry, or not requested yet', short: 'no expiry', level: 'unknown', end }
  return isGood
    ? { what, when: `expire ${describeExpiry(expire, now)}`, short: left, level: 'good', end }
    : { what, when: 'expired; the next login requests new ones', short: 'at next login', level: 'unknown', end }
}

function makeExpiry() {
  const item = make('li')
  item.append(make('span', 'what'), ' ', make('span', 'when'))
  return item
}

/**
 * Certificates for IAM Roles Anywhere often live for a day only, others for months.
 * @param {string} what @param {number} expires @param {number} now @param {number} soon @param {number} bad
 * @returns {Expiry}
 */
function certificate(what, expires, now, soon = 7 * DAY_MS, bad = DAY_MS) {
  const when = `${expires <= now ? 'expired' : 'expires'} ${describeExpiry(expires, now)}`
  const short = expires <= now ? 'expired' : `in ${roughSpan(expires - now)}`
  return { what, when, short, level: level(expires - now, soon, bad), end: expires }
}

/** @param {number} left @param {number} soon @param {number} bad @returns {Level} */
const level = (left, soon, bad) => (left <= bad ? 'bad' : left <= soon ? 'soon' : 'good')

/** @param {number} ms */
function roughSpan(ms) {
  const days = Math.floor(ms / DAY_MS)
  if (days > 730) return `${Math.floor(days / 365)} years`
  if (days > 1) return `${days} days`
  return formatSpan(ms < MINUTE_MS ? ms : Math.floor(ms / MINUTE_MS) * MINUTE_MS)
}

/** @param {number} expires @param {number} now */
function describeExpiry(expires, now) {
  const left = expires - now
  const when = Math.abs(left) < DAY_MS ? `at ${clock.format(expires)}` : `on ${day.format(expires)}`
  return left <= 0 ? `${formatSpan(-left)} ago, ${when}` : `in ${roughSpan(left)}, ${when}`
}
