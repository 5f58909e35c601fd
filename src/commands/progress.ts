/** What a command waits for, while it waits. */
import { isLive } from '../text.ts'

/** One line on standard error, overwritten; nothing without a terminal. */
export function createProgress() {
  const { stderr } = process
  const live = isLive(stderr.isTTY)
  let isShown = false
  return {
    show(text: string) {
      if (!live) return
      stderr.write(`\r\x1b[K… ${text}`)
      isShown = true
    },
    clear() {
      if (isShown) stderr.write('\r\x1b[K')
      isShown = false
    },
  }
}
