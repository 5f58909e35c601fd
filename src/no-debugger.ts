/**
 * Imported first: from here on, SIGUSR1 no longer starts Node.js's debugger, which would give every program on this machine
 * the credentials. https://nodejs.org/api/process.html#signal-events
 */
process.on('SIGUSR1', () => {})
