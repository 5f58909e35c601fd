// Making and filling elements. Everything that comes from the proxy goes into the document as text, never as HTML.
// The scripts of the page share one scope, in the order in which page.html names them.

/** @typedef {import('../status.ts').Status} Status */
/** @typedef {import('../status.ts').EndpointStatus} EndpointStatus */
/** @typedef {import('../status.ts').SessionStatus} SessionStatus */
/** @typedef {import('../status.ts').ErrorStatus} ErrorStatus */
/** @typedef {import('../history.ts').Slot} Slot */

/** @param {string} id @returns {HTMLElement} */
const byId = id => /** @type {HTMLElement} */ (document.getElementById(id))

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 */
function make(tag, className = '', text = '') {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text) element.textContent = text
  return element
}

/**
 * Only what has changed is written: a screen reader would say it again, and a selection would go.
 * @param {Element} element
 * @param {string} text
 */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function makeSvg(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  return element
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let tellTimer

/** @param {string} text */
function tell(text) {
  clearTimeout(tellTimer)
  say(byId('told'), text)
  tellTimer = setTimeout(() => say(byId('told'), ''), 6_000)
}
