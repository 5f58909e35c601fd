/**
 * How far the clock of this machine is ahead of AWS, from the Date header of answers that AWS sends anyway, such as those
 * with credentials. A token contains the time of its signature, so a wrong clock explains a refused login.
 */
import { type Channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { uptime } from 'node:os'
import { wallClockAgainstUptime } from '../clock.ts'

/** Endpoints of AWS, instance metadata and container credentials. Others may have any clock. */
const AWS_HOST =
  /(?:^|\.)(?:amazonaws\.(?:com|com\.cn|eu)|api\.aws|aws)$|^169\.254\.(?:169\.254|170\.2|170\.23)$|^\[?fd00:ec2::(?:23|254)\]?$/

/** Milliseconds between AWS's time and the uptime of this machine, at the last answer; undefined before the first. */
let awsOffset: number | undefined

/** Milliseconds that the clock of this machine is ahead of AWS now; negative if it is behind; undefined if AWS has answered nothing. */
export function clockAhead(): number | undefined {
  return awsOffset === undefined ? undefined : wallClockAgainstUptime() - awsOffset
}

/** Keeps the time of an answer. @param date the header Date, which has only whole seconds */
export function noteDate(host: string, date: string | undefined): void {
  const theirs = Date.parse(date ?? '')
  if (AWS_HOST.test(host) && !Number.isNaN(theirs)) awsOffset = theirs + 500 - uptime() * 1_000
}

const CHANNEL = 'http.client.response.finish'

const onResponse: Parameters<Channel['subscribe']>[0] = message => {
  const { request, response } = message as { request: ClientRequest; response: IncomingMessage }
  noteDate(request.host, response.headers.date)
}

let watching = 0

/**
 * Watches the answers that this process gets, until the result is called. Node.js reports them all:
 * https://nodejs.org/api/diagnostics_channel.html#http
 */
export function watchAwsDates(): () => void {
  if (watching++ === 0) subscribe(CHANNEL, onResponse)
  let isOver = false
  return () => {
    if (isOver) return
    isOver = true
    if (--watching === 0) unsubscribe(CHANNEL, onResponse)
  }
}
