// The charts. Their view box of 1000 × 100 is stretched to the available width; strokes and labels keep their size.

const WIDTH = 1_000
const HEIGHT = 100

/**
 * @typedef {object} Chart
 * @property {SVGElement} marks
 * @property {HTMLElement} top
 * @property {HTMLElement} empty
 * @property {HTMLElement} plot
 * @property {HTMLElement} now
 * @property {HTMLElement} needle
 * @property {(value: number) => string} format
 * @property {number} span
 * @property {string} name
 * @property {string} summary
 * @property {Slot[]} slots
 * @property {number} end
 * @property {number} pointer  position from 0 (left) to 1 (right); -1 if the pointer is elsewhere
 * @property {(slot: Slot) => string} describe
 */

/**
 * @param {string} name
 * @param {HTMLElement} plot
 * @param {HTMLElement} now
 * @param {(value: number) => string} format
 * @returns {Chart}
 */
function createChart(name, plot, now, format) {
  const svg = makeSvg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' })
  const marks = makeSvg('g', {})
  svg.append(marks)
  const top = make('span', 'scale')
  const empty = make('span', 'nothing')
  const needle = make('span', 'needle')
  needle.hidden = true
  const from = make('span', 'from')
  const to = make('span', 'to', 'now')
  for (const label of [top, from, to, needle]) label.setAttribute('aria-hidden', 'true')
  plot.append(svg, top, empty, needle, from, to)
  /** @type {Chart} */
  const chart = {
    name,
    marks,
    top,
    empty,
    plot,
    now,
    needle,
    format,
    ...{ span: MINUTE_MS, summary: '', slots: [], end: 0 },
    pointer: -1,
    describe: () => '',
  }
  plot.addEventListener('pointermove', event => {
    const box = plot.getBoundingClientRect()
    chart.pointer = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))
    showValue(chart)
  })
  plot.addEventListener('pointerleave', () => {
    chart.pointer = -1
    showValue(chart)
  })
  return chart
}

/** Shows the slot under the pointer, or the summary if there is none. @param {Chart} chart */
function showValue(chart) {
  const at = chart.end - (1 - chart.pointer) * chart.span
  const slot = chart.pointer < 0 ? undefined : nearest(chart.slots, at)
  chart.needle.hidden = !slot
  if (slot) chart.needle.style.left = `${100 * (1 - (chart.end - slot.at) / chart.span)}%`
  setText(chart.now, slot ? `${clock.format(slot.at)}: ${chart.describe(slot)}` : chart.summary)
}

/** @param {Slot[]} slots @param {number} at */
function nearest(slots, at) {
  /** @type {Slot | undefined} */
  let best
  for (const slot of slots) if (!best || Math.abs(slot.at - at) < Math.abs(best.at - at)) best = slot
  return best
}

/**
 * Sets the scales. Time starts at the oldest slot, in whole minutes, at most the chosen range. Values go from 0 to a round number.
 * @param {Chart} chart
 * @param {readonly Slot[]} history
 * @param {number} highest
 * @param {number} least
 * @param {number} now
 */
function setScale(chart, history, highest, least, now) {
  const top = roundUp(Math.max(highest, least))
  chart.end = now
  const age = now - (history[0]?.at ?? now)
  chart.span = Math.min(RANGES[view.range].span, Math.max(1, Math.ceil(age / MINUTE_MS)) * MINUTE_MS)
  chart.slots = history.filter(({ at }) => at >= now - chart.span)
  setText(chart.top, chart.format(top).replace('.0 ', ' '))
  setText(/** @type {Element} */ (chart.plot.querySelector('.from')), `${formatSpan(chart.span)} ago`)
  chart.marks.replaceChildren()
  /** @param {number} at */
  const x = at => ((at - (now - chart.span)) / chart.span) * WIDTH
  /** @param {number} value */
  const y = value => HEIGHT - (value / top) * HEIGHT
  return { x, y }
}

/** The next 1, 2 or 5 times a power of ten. @param {number} value */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5].find(step => step * power >= value * 0.999) ?? 10) * power
}

/** @param {Chart} chart @param {string} text */
function finish(chart, text) {
  chart.summary = text
  chart.plot.querySelector('svg')?.setAttribute('aria-label', `${chart.name}: ${text}`)
  showValue(chart)
}

/**
 * Draws a dot at the median of each slot with logins, and a line up to its slowest login.
 * @param {Chart} chart
 * @param {readonly Slot[]} history
 * @param {EndpointStatus['loginTime']} loginTime
 * @param {number} now
 */
function drawLogins(chart, history, loginTime, now) {
  const highest = Math.max(0, ...history.map(({ slowest }) => slowest ?? 0))
  const { x, y } = setScale(chart, history, highest, 1, now)
  let tails = ''
  let dots = ''
  chart.slots = chart.slots.filter(({ logins }) => logins > 0)
  for (const { at, median = 0, slowest = 0 } of chart.slots) {
    tails += `M${x(at).toFixed(1)},${y(median).toFixed(2)}V${y(slowest).toFixed(2)}`
    dots += `M${x(at).toFixed(1)},${y(median).toFixed(2)}h0`
  }
  chart.marks.append(makeSvg('path', { class: 'tail', d: tails }), makeSvg('path', { class: 'dot', d: dots }))
  setText(chart.empty, dots ? '' : `No logins in the last ${formatSpan(chart.span)}`)
  chart.describe = ({ logins, median = 0, slowest = 0 }) =>
    logins === 1
      ? formatMs(median)
      : `${plain.format(logins)} logins, ${formatMs(median)}, slowest ${formatMs(slowest)}`
  finish(
    chart,
    loginTime ? `median ${formatMs(loginTime.median)}, 95th percentile ${formatMs(loginTime.p95)}` : 'no logins yet',
  )
}

/**
 * Draws a bar for each slot: the failed logins at the bottom, the successful ones on top of them.
 * @param {Chart} chart @param {readonly Slot[]} history @param {EndpointStatus['lastMinute']} lastMinute @param {number} now
 */
function drawOutcomes(chart, history, lastMinute, now) {
  const highest = Math.max(0, ...history.map(({ logins, failed }) => logins + failed))
  const { x, y } = setScale(chart, history, highest, 1, now)
  let good = ''
  let bad = ''
  let from = (chart.slots[0]?.at ?? now) - RANGES[view.range].slotMs
  for (const { at, logins, failed } of chart.slots) {
    const left = x(Math.max(from, now - chart.span))
    const width = Math.max(1.5, (x(at) - left) * 0.8)
    const middle = y(failed)
    if (failed > 0) bad += bar(left, width, middle, HEIGHT)
    if (logins > 0) good += bar(left, width, y(logins + failed), middle)
    from = at
  }
  chart.marks.append(makeSvg('path', { class: 'bar good', d: good }), makeSvg('path', { class: 'bar bad', d: bad }))
  setText(chart.empty, good || bad ? '' : `No logins in the last ${formatSpan(chart.span)}`)
  chart.describe = ({ logins, failed }) => `${plain.format(logins)} succeeded, ${plain.format(failed)} failed`
  finish(chart, `${chart.describe({ at: 0, fromClient: 0, fromServer: 0, ...lastMinute })} in the last minute`)
}

/** @param {number} left @param {number} width @param {number} top @param {number} bottom */
const bar = (left, width, top, bottom) =>
  `M${left.toFixed(1)},${bottom.toFixed(2)}V${top.toFixed(2)}h${width.toFixed(1)}V${bottom.toFixed(2)}Z`

/** @param {Chart} chart @param {readonly Slot[]} history @param {number} now */
function drawRates(chart, history, now) {
  const highest = Math.max(0, ...history.map(({ fromClient, fromServer }) => Math.max(fromClient, fromServer)))
  const { x, y } = setScale(chart, history, highest, 1_000, now)
  const { slots } = chart
  /** @param {'fromClient' | 'fromServer'} side */
  const line = side => slots.map(slot => `${x(slot.at).toFixed(1)},${y(slot[side]).toFixed(2)}`).join('L')
  if (slots.length > 1 && highest > 0) {
    const area = `M${x(slots[0]?.at ?? 0).toFixed(1)},${HEIGHT}L${line('fromServer')}L${x(slots.at(-1)?.at ?? 0).toFixed(1)},${HEIGHT}Z`
    chart.marks.append(
      makeSvg('path', { class: 'area', d: area }),
      makeSvg('path', { class: 'line server', d: `M${line('fromServer')}` }),
      makeSvg('path', { class: 'line client', d: `M${line('fromClient')}` }),
    )
  }
  setText(chart.empty, highest > 0 ? '' : `No traffic in the last ${formatSpan(chart.span)}`)
  chart.describe = ({ fromClient, fromServer }) =>
    `${formatBytes(fromServer)}/s received, ${formatBytes(fromClient)}/s sent`
  const last = slots.at(-1)
  finish(chart, last ? chart.describe(last) : 'no data yet')
}
