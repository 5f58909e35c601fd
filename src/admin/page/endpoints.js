// Each endpoint: its names, figures, charts and expiry times.

const endpointTemplate = /** @type {HTMLTemplateElement} */ (byId('endpoint-template'))

/** @typedef {{ section: HTMLElement, at: (name: string) => HTMLElement, login: Chart, rate: Chart }} EndpointView */

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

/** @param {Status} status */
function renderEndpoints(status) {
  const list = byId('endpoints')
  // The key includes the address: after a reload, an endpoint can appear twice, current and retired.
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
  setText(at('name'), shortName(endpoint.name))
  setText(at('address'), endpoint.address || 'no longer listening; its last sessions are still open')
  setText(at('dial'), endpoint.dial === endpoint.rds ? 'the RDS endpoint, directly' : endpoint.dial)
  setText(at('rds'), `${endpoint.rds} in ${endpoint.region}`)
  setText(at('user'), endpoint.user ?? 'chosen by each client')

  setText(at('open'), plain.format(open))
  setText(at('limit'), maxConnections > 0 ? `of ${plain.format(maxConnections)}` : 'no limit')
  const meter = /** @type {HTMLMeterElement} */ (at('meter'))
  meter.hidden = maxConnections === 0
  Object.assign(meter, { max: maxConnections || 1, high: maxConnections * 0.8, optimum: 0, value: open + loggingIn })
  setText(at('logins'), plain.format(endpoint.loginsOK))
  setText(at('failed'), loginsFailed > 0 ? `and ${plain.format(loginsFailed)} failed` : 'none failed')
  at('failed').classList.toggle('bad', loginsFailed > 0)
  setText(at('waiting'), plain.format(endpoint.waiting))
  setText(at('logging-in'), loggingIn > 0 ? `of ${plain.format(loggingIn)} logging in` : '')
  setText(at('bytes'), formatBytes(endpoint.bytesFromServer))
  setText(at('sent'), `${formatBytes(endpoint.bytesFromClient)} sent`)

  drawLogins(login, history, loginTime, now)
  drawRates(rate, history, now)
  renderExpiries(at('expiries'), endpoint, now)
}

/** @typedef {'good' | 'soon' | 'bad' | 'unknown'} Level */

/** @param {HTMLElement} list @param {EndpointStatus} endpoint @param {number} now */
function renderExpiries(list, endpoint, now) {
  const { credentialsExpire, credentialsFailed, certificateExpires, localCertificateExpires } = endpoint
  const { rolesAnywhereCertificateExpires } = endpoint
  /** @type {[string, string, Level][]} */
  const items = []
  items.push(['AWS credentials', ...describeCredentials(credentialsExpire, credentialsFailed, now)])
  if (certificateExpires === undefined) items.push(['Database certificate', 'unknown until the first login', 'unknown'])
  else items.push(certificate('Database certificate', certificateExpires, now))
  if (localCertificateExpires !== undefined)
    items.push(certificate('Certificate for clients', localCertificateExpires, now))

  if (rolesAnywhereCertificateExpires !== undefined)
    items.push(certificate('Certificate for IAM Roles Anywhere', rolesAnywhereCertificateExpires, now, DAY_MS / 4, 0))

  while (list.children.length > items.length) list.lastElementChild?.remove()
  for (const [index, [what, when, severity]] of items.entries()) {
    const item = /** @type {HTMLElement} */ (list.children[index] ?? list.appendChild(makeExpiry()))
    item.dataset['level'] = severity
    setText(/** @type {Element} */ (item.children[0]), what)
    setText(/** @type {Element} */ (item.children[1]), when)
  }
}

/**
 * Logins renew credentials. So expired credentials are normal without logins, but a failed request for new ones is not.
 * @param {number | undefined} expire @param {boolean} failed @param {number} now @returns {[string, Level]}
 */
function describeCredentials(expire, failed, now) {
  const isGood = expire !== undefined && expire > now
  if (failed && isGood) return [`renewal failed; expire ${describeExpiry(expire, now)}`, 'soon']
  if (failed) return ['unavailable; see the errors below', 'bad']
  if (expire === undefined) return ['no expiry, or not requested yet', 'unknown']
  return isGood
    ? [`expire ${describeExpiry(expire, now)}`, 'good']
    : ['expired; the next login requests new ones', 'unknown']
}

function makeExpiry() {
  const item = make('li')
  item.append(make('span', 'what'), ' ', make('span', 'when'))
  return item
}

/**
 * Certificates for IAM Roles Anywhere often live for a day only, others for months.
 * @param {string} what @param {number} expires @param {number} now @param {number} soon @param {number} bad
 * @returns {[string, string, Level]}
 */
const certificate = (what, expires, now, soon = 7 * DAY_MS, bad = DAY_MS) => [
  what,
  `${expires < now ? 'expired' : 'expires'} ${describeExpiry(expires, now)}`,
  level(expires - now, soon, bad),
]

/** @param {number} left @param {number} soon @param {number} bad @returns {Level} */
const level = (left, soon, bad) => (left <= bad ? 'bad' : left <= soon ? 'soon' : 'good')

/** @param {number} expires @param {number} now */
function describeExpiry(expires, now) {
  const left = expires - now
  const when = Math.abs(left) < DAY_MS ? `at ${clock.format(expires)}` : `on ${day.format(expires)}`
  if (left <= 0) return `${formatSpan(-left)} ago, ${when}`
  const days = Math.floor(left / DAY_MS)
  const span = days > 730 ? `${Math.floor(days / 365)} years` : days > 1 ? `${days} days` : formatSpan(left)
  return `in ${span}, ${when}`
}
