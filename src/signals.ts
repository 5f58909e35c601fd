/** Signals of each system. https://nodejs.org/api/process.html#signal-events */

/**
 * The signals that stop the program. Windows sends SIGBREAK for Ctrl-Break, and SIGHUP when the console window closes; it
 * ends the process about 10 s later.
 */
export function stopSignals(platform: NodeJS.Platform = process.platform): readonly NodeJS.Signals[] {
  return platform === 'win32' ? ['SIGINT', 'SIGTERM', 'SIGBREAK', 'SIGHUP'] : ['SIGINT', 'SIGTERM']
}

/** Whether SIGHUP asks a proxy to read its configuration again. On a terminal it means that the terminal was closed. */
export function reloadsOnHangup(isTerminal: boolean, platform: NodeJS.Platform = process.platform): boolean {
  return !isTerminal && platform !== 'win32'
}

/**
 * The signals that mean the command of exec, not the proxy. Windows has none that one process can send to another. Ctrl-C,
 * Ctrl-Break and the end of the console reach the command by themselves.
 */
export function forwardedSignals(platform: NodeJS.Platform = process.platform): readonly NodeJS.Signals[] {
  return platform === 'win32' ? [] : ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']
}

/** As shells do: 128 + the signal's number, where every signal but Ctrl-C counts as SIGTERM. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return signal === 'SIGINT' ? 130 : 143
}
