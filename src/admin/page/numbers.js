// Numbers, times and sizes as people read them.

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

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
  if (ms >= 10 * SECOND) return `${(ms / SECOND).toFixed(0)} s`
  if (ms >= SECOND) return `${(ms / SECOND).toFixed(1)} s`
  return `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`
}

/** How long: the two largest units. @param {number} ms */
function formatSpan(ms) {
  const units = /** @type {const} */ ([
    [DAY, 'd'],
    [HOUR, 'h'],
    [MINUTE, 'min'],
    [SECOND, 's'],
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
const formatWhen = (at, now) => (Math.abs(at - now) < DAY ? clock.format(at) : day.format(at))
