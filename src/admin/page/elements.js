// Creates and fills elements. Data from the proxy is set as text, never as HTML.
// The scripts of the page share one scope and run in the order of page.html.

/** @typedef {import('../status.ts').Status} Status */
/** @typedef {import('../status.ts').EndpointStatus} EndpointStatus */
/** @typedef {import('../sessions.ts').SessionRow} SessionRow */
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
 * Sets the text of an element. Skips unchanged text: else screen readers would repeat it, and a selection would be lost.
 * @param {Element} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function makeSvg(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  return element
}

const NOTICE_MS = 6_000

/** @type {ReturnType<typeof setTimeout> | undefined} */
let noticeTimer

/** Shows a message for a few seconds. @param {string} text */
function showNotice(text) {
  clearTimeout(noticeTimer)
  setText(byId('notice'), text)
  noticeTimer = setTimeout(() => setText(byId('notice'), ''), NOTICE_MS)
}
