/** Limits and timeouts. */
import { OPTION_VALUES } from '../../option-values.ts'
import { duration, integer, type OptionSpec } from '../option-spec.ts'

export const LIMITS = {
  'max-connections': {
    ...integer(OPTION_VALUES.maxConnections),
    describe: 'Open client connections; the proxy refuses more (ERR 1040). 0 for no limit',
  },
  'max-unauthenticated': {
    ...integer(OPTION_VALUES.maxUnauthenticated),
    describe:
      'Server connections of clients that have not logged in yet. Other clients wait for a place, up to --login-timeout, or longer while the database resumes. One client address gets three quarters of them at most. 0 for no limit',
  },
  'prepared-connections': {
    ...integer(OPTION_VALUES.preparedConnections),
    describe:
      'Connections to the database, 0 to 2, that are prepared for up to 3 s for the next logins of a program that logs in often. Over a slow line, these logins are faster. A connection that no login takes ends with a login of the last user and COM_QUIT. 0 prepares none',
  },
  'max-logins-per-second': {
    ...integer(OPTION_VALUES.maxLoginsPerSecond),
    describe:
      'Logins to the database per second. More logins wait, and fail if their turn would come too late. AWS advises fewer than 200. While every login fails for the same reason, the proxy tries only one every 1 to 10 seconds. 0 for no limit and no such pause',
  },
  'connect-timeout': {
    ...duration(OPTION_VALUES.connectTimeout),
    describe: 'Time for the TCP connection to the database',
  },
  'greeting-timeout': {
    ...duration(OPTION_VALUES.greetingTimeout),
    describe:
      'Time from the TCP connection to the greeting of the database. A paused Aurora Serverless database sends it after 15 s or more, when it has resumed. The wait ends when the client disconnects',
  },
  'login-timeout': {
    ...duration(OPTION_VALUES.loginTimeout),
    describe:
      "Time for the login, from the greeting of the database. Keep it below the server's connect_timeout, 10 s by default",
  },
  keepalive: {
    ...duration(OPTION_VALUES.keepalive),
    describe:
      'Idle time before TCP keepalive probes begin, on both legs. It must be below the idle timeout of an NLB, 350 s by default',
  },
  'tcp-user-timeout': {
    ...duration(OPTION_VALUES.tcpUserTimeout),
    describe:
      "Time that sent bytes may stay unacknowledged before the session ends, on both legs. A slow query on a working path never counts. Only on Linux; elsewhere, and with 0s, the kernel's own limit applies, up to 16 minutes",
  },
  'client-write-timeout': {
    ...duration(OPTION_VALUES.clientWriteTimeout),
    describe:
      "Time in which a client must take some of the bytes that wait for it, or its session ends. Keep it above the server's net_write_timeout, 60 s by default. 0s turns it off",
  },
  'busy-poll': {
    ...duration(OPTION_VALUES.busyPoll),
    perProcess: true,
    describe:
      'How long to poll for more input before the event loop blocks, at most 1 ms. Saves a quarter of the time of single small queries; costs processor time. No effect with one processor or a CPU quota below two; on Linux, none on battery and while the process is throttled. 0s turns it off',
  },
} as const satisfies Record<string, OptionSpec>
