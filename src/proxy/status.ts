/** What a user of the library can see of a proxy: plain copied values. */
import type { ErrorCode } from '../error-codes.ts'

/** A snapshot of a proxy. */
export interface ProxyStatus {
  /** The option `name`, or the RDS endpoint as `host:port` */
  readonly name: string
  /** 'idle' before `listen()`; 'closing' once it accepts no more clients; 'closed' when all connections are closed */
  readonly state: 'idle' | 'listening' | 'closing' | 'closed'
  /** The RDS endpoint as `host:port`: the name on the certificate, and what tokens are signed for */
  readonly rdsEndpoint: string
  /** The address that the proxy dials, as `host:port` */
  readonly connect: string
  /** undefined for an Aurora global endpoint without the option `region` */
  readonly region: string | undefined
  /** The address that clients connect to, as `host:port` or `unix:/path`; undefined before `listen()` */
  readonly address: string | undefined
  /** Connected clients, also those that are still logging in */
  readonly sessions: readonly SessionStatus[]
  /** Logins that wait for their turn under `maxLoginsPerSecond` */
  readonly loginsQueued: number
  /** How many logins had each outcome since the start: 'OK' or an error code */
  readonly logins: Readonly<Partial<Record<'OK' | ErrorCode, number>>>
  /** Bytes from all clients since the start */
  readonly bytesFromClients: number
  /** Bytes from the database since the start */
  readonly bytesFromServer: number
  /** `bytesFromClients` as they travelled between the proxy and the database. The option `compress` makes them fewer */
  readonly lineBytesFromClients: number
  /** `bytesFromServer` as they travelled between the proxy and the database. The option `compress` makes them fewer */
  readonly lineBytesFromServer: number
  /** What the next session to the database gets by the option `compress`; undefined if it is 'off' */
  readonly compression: CompressionStatus | undefined
  /** The tunnel to the database; undefined without the option `tunnel` */
  readonly tunnel: TunnelStatus | undefined
  /** Whether the last lookup of AWS credentials failed */
  readonly credentialsFailed: boolean
  /** When the AWS credentials expire; undefined if they do not, or before the first lookup */
  readonly credentialsExpire: Date | undefined
  /** When the database's certificate expires; undefined before the first login */
  readonly certificateExpires: Date | undefined
  /** The most recent failed logins, at most 50, the newest last */
  readonly recentErrors: readonly RecentError[]
}

/** The compression between the proxy and the database. */
export interface CompressionStatus {
  /** The option */
  readonly setting: 'auto' | 'zlib' | 'zstd'
  /** For the next session; undefined for none. Before the first login, it assumes that the server has it */
  readonly next: 'zlib' | 'zstd' | undefined
  /** In words; '' where nothing but the option decides */
  readonly why: string
  /** Of 'auto': the shortest time from a connection to its greeting, of the last eight, in milliseconds; undefined before the first */
  readonly roundTrip: number | undefined
  /** Of 'auto': the most bytes that a session got in a second within the last hour; undefined if none was measured */
  readonly bytesPerSecond: number | undefined
}

/** The tunnel to the database. */
export interface TunnelStatus {
  /** 'failed': it could not start or has ended; the next start comes after a pause */
  readonly state: 'idle' | 'starting' | 'open' | 'failed'
  /** When the state changed last */
  readonly since: Date
  /** Starts after a failure, or after an end that nobody asked for */
  readonly restarts: number
  /** Why it failed last; undefined once it is open again */
  readonly error: string | undefined
}

/** One connected client. */
export interface SessionStatus {
  /** Short; unique in this process. It is in the log and in the errors that the client gets, too */
  readonly id: string
  /** When the client connected */
  readonly since: Date
  readonly phase: 'logging in' | 'open'
  /** The client's IP address, 'unix', or 'in-process' for `connect()` */
  readonly client: string
  /** The local user that the client names; undefined without local users, and until it is known */
  readonly localUser: string | undefined
  /** The database user; undefined until it is known */
  readonly user: string | undefined
  /** The default database that the client named at login */
  readonly database: string | undefined
  /** The client program, from its connection attributes */
  readonly program: string | undefined
  /** The server's thread id (CONNECTION_ID()); undefined before the server's greeting */
  readonly threadId: number | undefined
  readonly bytesFromClient: number
  readonly bytesFromServer: number
  /** What the proxy has added between it and the database; undefined for none */
  readonly compression: 'zlib' | 'zstd' | undefined
  /** `bytesFromClient` as they travelled between the proxy and the database */
  readonly lineBytesFromClient: number
  /** `bytesFromServer` as they travelled between the proxy and the database */
  readonly lineBytesFromServer: number
}

/** An error, or several with the same code and message. The session and its users are those of the newest. */
export interface RecentError {
  /** Time of the newest */
  readonly at: Date
  /** Time of the first */
  readonly firstAt: Date
  readonly count: number
  readonly code: ErrorCode
  /** What happened, without secrets */
  readonly message: string
  /** What to do about it */
  readonly hint: string
  /** The id of the session */
  readonly session: string
  readonly localUser: string | undefined
  readonly user: string | undefined
  readonly client: string
}
