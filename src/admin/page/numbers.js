// Formats numbers, times and sizes.

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

const plain = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' })

/** @param {number} bytes */
function formatBytes(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let unit = 0
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1_000
    unit++
  }
  return `${unit === 0 || bytes >= 99.95 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`
}

/** @param {number} ms */
function formatMs(ms) {
  if (ms >= 10 * SECOND_MS) return `${(ms / SECOND_MS).toFixed(0)} s`
  if (ms >= SECOND_MS) return `${(ms / SECOND_MS).toFixed(1)} s`
  return `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`
}

/** A duration in its two largest units. @param {number} ms */
function formatSpan(ms) {
  const units = /** @type {const} */ ([
    [DAY_MS, 'd'],
    [HOUR_MS, 'h'],
    [MINUTE_MS, 'min'],
    [SECOND_MS, 's'],
  ])
  const first = units.findIndex(([length]) => ms >= length)
  if (first === -1) return '0 s'
  return units
    .slice(first, first + 2)
    .map(([length, name], index) => {
      const count = Math.floor((index === 0 ? ms : ms % (units[first]?.[0] ?? 1)) / length)
      return count > 0 || index === 0 ? `${count} ${name}` : ''
    })
    .filter(Boolean)
    .join(' ')
}

/** @param {number} at @param {number} now */
const formatWhen = (at, now) => (Math.abs(at - now) < DAY_MS ? clock.format(at) : day.format(at))
