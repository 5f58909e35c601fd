// Each endpoint: its names, figures, charts, and what ends when.

const endpointTemplate = /** @type {HTMLTemplateElement} */ (byId('endpoint-template'))

/** @typedef {{ section: HTMLElement, at: (name: string) => HTMLElement, login: Chart, rate: Chart }} EndpointView */

/** @type {Map<string, EndpointView>} */
const endpointViews = new Map()

/** @type {Map<string, string>} */
let shortNames = new Map()

/** Of a name that is the RDS endpoint's, the first label says enough, where no other endpoint has the same. @param {EndpointStatus[]} endpoints */
function shortenNames(endpoints) {
  /** @param {EndpointStatus} endpoint */
  const shorten = ({ name, rds }) => (rds.startsWith(name) ? (name.split('.')[0] ?? name) : name)
  shortNames = new Map(endpoints.map(endpoint => [endpoint.name, shorten(endpoint)]))
  const all = [...shortNames.values()]
  for (const [name, short] of shortNames) if (all.indexOf(short) !== all.lastIndexOf(short)) shortNames.set(name, name)
}

/** @param {string} name */
const shortName = name => shortNames.get(name) ?? name

/** @param {Status} status */
function renderEndpoints(status) {
  const list = byId('endpoints')
  // Not by the name alone: after a reload, an endpoint may be there as it is, and as it was for the sessions from before.
  const keys = status.endpoints.map(({ name, address }) => JSON.stringify([name, address]))
  for (const [key, { section }] of endpointViews) {
    if (keys.includes(key)) continue
    section.remove()
    endpointViews.delete(key)
  }
  shortenNames(status.endpoints)
  for (const [index, endpoint] of status.endpoints.entries()) {
    const key = keys[index] ?? ''
    const view = endpointViews.get(key) ?? addEndpoint(key, list)
    renderEndpoint(view, endpoint, status.now)
  }
  if (status.endpoints.length > 0) list.querySelector('.empty')?.remove()
  else if (!list.firstChild) list.append(make('p', 'empty', 'No endpoint is configured.'))
}

/** @param {string} key @param {HTMLElement} list @returns {EndpointView} */
function addEndpoint(key, list) {
  const section = /** @type {HTMLElement} */ (
    /** @type {DocumentFragment} */ (endpointTemplate.content.cloneNode(true)).firstElementChild
  )
  /** @param {string} name */
  const at = name => /** @type {HTMLElement} */ (section.querySelector(`[data-at="${name}"]`))
  const heading = at('name')
  heading.id = `endpoint-${endpointViews.size}-${Date.now()}`
  section.setAttribute('aria-labelledby', heading.id)
  const login = createChart('Login time', at('login-plot'), at('login-now'), formatMs)
  const rate = createChart('Throughput', at('rate-plot'), at('rate-now'), value => `${formatBytes(value)}/s`)
  const view = { section, at, login, rate }
  list.append(section)
  endpointViews.set(key, view)
  return view
}

/** @param {EndpointView} view @param {EndpointStatus} endpoint @param {number} now */
function renderEndpoint({ at, login, rate }, endpoint, now) {
  const { open, maxConnections, loggingIn, loginsFailed, loginTime, history } = endpoint
  say(at('name'), shortName(endpoint.name))
  say(at('address'), endpoint.address || 'not listening; sessions from before go on')
  say(at('dial'), endpoint.dial === endpoint.rds ? 'the same, directly' : endpoint.dial)
  say(at('rds'), `${endpoint.rds} in ${endpoint.region}`)
  say(at('user'), endpoint.user ?? 'the user that the client names')

  say(at('open'), plain.format(open))
  say(at('limit'), maxConnections > 0 ? `of ${plain.format(maxConnections)}` : 'no limit')
  const meter = /** @type {HTMLMeterElement} */ (at('meter'))
  meter.hidden = maxConnections === 0
  Object.assign(meter, { max: maxConnections || 1, high: maxConnections * 0.8, optimum: 0, value: open + loggingIn })
  say(at('logins'), plain.format(endpoint.loginsOK))
  say(at('failed'), loginsFailed > 0 ? `and ${plain.format(loginsFailed)} failed` : 'none failed')
  at('failed').classList.toggle('bad', loginsFailed > 0)
  say(at('waiting'), plain.format(endpoint.waiting))
  say(at('logging-in'), loggingIn > 0 ? `of ${plain.format(loggingIn)} under way` : '')
  say(at('bytes'), formatBytes(endpoint.bytesFromServer))
  say(at('sent'), `${formatBytes(endpoint.bytesFromClient)} sent`)

  drawLogins(login, history, loginTime, now)
  drawRates(rate, history, now)
  renderExpiries(at('expiries'), endpoint, now)
}

/** @typedef {'good' | 'soon' | 'bad' | 'unknown'} Level */

/** @param {HTMLElement} list @param {EndpointStatus} endpoint @param {number} now */
function renderExpiries(list, endpoint, now) {
  const { credentialsExpire, credentialsFailed, certificateExpires, localCertificateExpires } = endpoint
  /** @type {[string, string, Level][]} */
  const items = []
  items.push(['AWS credentials', ...describeCredentials(credentialsExpire, credentialsFailed, now)])
  if (certificateExpires === undefined)
    items.push(['Database certificate', 'not seen before the first login', 'unknown'])
  else items.push(certificate('Database certificate', certificateExpires, now))
  if (localCertificateExpires !== undefined) items.push(certificate('Own certificate', localCertificateExpires, now))

  while (list.children.length > items.length) list.lastElementChild?.remove()
  for (const [index, [what, when, severity]] of items.entries()) {
    const item = /** @type {HTMLElement} */ (list.children[index] ?? list.appendChild(makeExpiry()))
    item.dataset['level'] = severity
    say(/** @type {Element} */ (item.children[0]), what)
    say(/** @type {Element} */ (item.children[1]), when)
  }
}

/**
 * They are renewed by the logins that need them: that they have ended says nothing, but that they could not be had does.
 * @param {number | undefined} expire @param {boolean} failed @param {number} now @returns {[string, Level]}
 */
function describeCredentials(expire, failed, now) {
  const isGood = expire !== undefined && expire > now
  if (failed && isGood) return [`cannot be renewed; end ${describeEnd(expire, now)}`, 'soon']
  if (failed) return ['cannot be had; see the errors below', 'bad']
  if (expire === undefined) return ['without an end, or not asked for yet', 'unknown']
  return isGood ? [`end ${describeEnd(expire, now)}`, 'good'] : ['ended; the next login gets new ones', 'unknown']
}

function makeExpiry() {
  const item = make('li')
  item.append(make('span', 'what'), ' ', make('span', 'when'))
  return item
}

/** @param {string} what @param {number} end @param {number} now @returns {[string, string, Level]} */
const certificate = (what, end, now) => [
  what,
  `${end < now ? 'ended' : 'ends'} ${describeEnd(end, now)}`,
  level(end - now, 7 * DAY, DAY),
]

/** @param {number} left @param {number} soon @param {number} bad @returns {Level} */
const level = (left, soon, bad) => (left <= bad ? 'bad' : left <= soon ? 'soon' : 'good')

/** @param {number} end @param {number} now */
function describeEnd(end, now) {
  const left = end - now
  const when = Math.abs(left) < DAY ? `at ${clock.format(end)}` : `on ${day.format(end)}`
  if (left <= 0) return `${formatSpan(-left)} ago, ${when}`
  const days = Math.floor(left / DAY)
  const span = days > 730 ? `${Math.floor(days / 365)} years` : days > 1 ? `${days} days` : formatSpan(left)
  return `in ${span}, ${when}`
}
