/** Everything that can go wrong, in one table: what the client is told, the log level, the exit code, what to do about it. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug'
interface ErrorSpec {
  /** ERR_Packet error code: the server's own numbers (1xxx, 3xxx), or those of libmysqlclient (2xxx) where no server code fits */
  errno: number
  sqlState: string
  level: LogLevel
  /** exit code where the error ends a command */
  exitCode: number
  /** what a person does about it; one sentence */
  hint: string
  /** what it means, in a sentence or two */
  explanation: string
  /** where more is written: a URL, or a page of this project */
  docs: string
}

/** A refusal that the server itself speaks. */
interface ServerErrorSpec {
  /** the server's symbol */
  name: string
  /** what a person does about it, added to the server's message; '' where that says it all */
  hint: string
  explanation: string
  docs: string
}

const RDS = 'https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide'
const NLB = 'https://docs.aws.amazon.com/elasticloadbalancing/latest/network'
const SDK = 'https://docs.aws.amazon.com/sdkref/latest/guide'
const MYSQL = 'https://dev.mysql.com/doc/refman/8.4/en'
const CONNECT = { errno: 2003, sqlState: 'HY000', level: 'error', exitCode: 4 } as const
const TLS = { errno: 2026, sqlState: 'HY000', level: 'error', exitCode: 5 } as const
const CREDENTIALS = { errno: 2061, sqlState: 'HY000', level: 'error', exitCode: 3 } as const
const REFUSED = { errno: 1045, sqlState: '28000', level: 'warn', exitCode: 7 } as const
const FINDING = { errno: 1105, sqlState: 'HY000', level: 'warn', exitCode: 1 } as const
const SYNC = { errno: 1105, sqlState: 'HY000', level: 'error' } as const
const CLIENT = { errno: 1043, sqlState: '08S01', level: 'info', exitCode: 1 } as const
const specs = {
  CONFIG_INVALID: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 2,
    hint: 'Run mysql-iam-proxy --help for the options.',
    explanation: 'An option is missing, unknown or has a value that cannot be.',
    docs: 'docs/reference.md#options',
  },
  LISTEN_FAILED: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 6,
    hint: 'Choose another address with --listen or --admin-listen, for example --listen 127.0.0.1:3307.',
    explanation:
      'The address of --listen or --admin-listen cannot be had: another program has the port, or the machine has no such address.',
    docs: 'docs/reference.md#options',
  },
  INTERNAL: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 70,
    hint: 'This is a bug in mysql-iam-proxy: please report it with the log line.',
    explanation: 'The program did something that its author did not foresee.',
    docs: 'README.md',
  },

  DIAL_DNS: {
    ...CONNECT,
    errno: 2005,
    hint: 'Check the spelling of {dial} and that this machine resolves it.',
    explanation:
      'DNS does not know the name that is dialled, or gives no answer. Names of internal load balancers and of private zones are often known only inside the VPC.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },
  DIAL_REFUSED: {
    ...CONNECT,
    hint: 'Check the port, the NLB listener and that its target group has the present address of {rds}.',
    explanation:
      'Something answered at the address and said that nobody listens on that port; an NLB says so where it has no listener or no target to use.',
    docs: `${NLB}/load-balancer-troubleshooting.html`,
  },
  DIAL_TIMEOUT: {
    ...CONNECT,
    hint: 'Check security groups, routes and the NLB: its targets must have the present address of {rds}.',
    explanation:
      'No packet came back in time: a security group, network ACL, route or firewall drops them, or an NLB sends them to an address that nobody has any longer.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },
  DIAL_FAILED: {
    ...CONNECT,
    hint: 'Check the network path from this machine to {dial}.',
    explanation:
      'The TCP connection could not be made, for a reason of this machine or the network that the message names.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },

  UPSTREAM_TIMEOUT: {
    ...CONNECT,
    errno: 2013,
    hint: 'Check that {dial} leads to a MySQL port whose server is not overloaded.',
    explanation:
      'The TCP connection stands but the server did not say in time what the login waits for: it is overloaded, or it is not MySQL.',
    docs: `${MYSQL}/error-lost-connection.html`,
  },
  UPSTREAM_CLOSED: {
    ...CONNECT,
    errno: 2013,
    hint: 'Check the health of the NLB targets behind {dial} and the server log of {rds}.',
    explanation:
      'The connection ended before the login was over: an NLB whose targets are unhealthy, a server that restarts or fails over, or a firewall between.',
    docs: `${MYSQL}/error-lost-connection.html`,
  },
  UPSTREAM_NOT_MYSQL: {
    ...CONNECT,
    errno: 2007,
    hint: 'Check that {dial} leads to the MySQL port of {rds} and not to another service.',
    explanation:
      'What came over the connection is not the MySQL protocol: another service listens there, or the NLB has a TLS listener where it needs a TCP one.',
    docs: 'README.md#what-aws-needs',
  },
  UPSTREAM_TOO_OLD: {
    ...CONNECT,
    errno: 2007,
    hint: 'IAM authentication needs RDS for MySQL 5.7 or newer, MariaDB 10.6 or newer, or Aurora MySQL 2 or newer.',
    explanation: "The server's protocol has no room for a token of more than 255 bytes.",
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.html`,
  },
  UPSTREAM_REFUSED_CONNECTION: {
    ...CONNECT,
    errno: 1130,
    hint: 'The server refused before login: look at its error log and its limits.',
    explanation: 'The server sent an error in the place of its greeting, before anybody logged in.',
    docs: `${MYSQL}/problems-connecting.html`,
  },
  UPSTREAM_REFUSED_LOGIN: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'The server refused the login: see its message.',
    explanation: 'The server heard the login and said no; its own error code says why.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Troubleshooting.html`,
  },

  TLS_NOT_OFFERED: {
    ...TLS,
    hint: 'No token was sent. Check that {dial} leads to {rds} and that the server has TLS on.',
    explanation: "The server's greeting has no TLS, and a token leaves only inside TLS.",
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },
  TLS_PLAINTEXT_INJECTED: {
    ...TLS,
    hint: 'No token was sent. Somebody on the path to {dial} may be tampering with the connection.',
    explanation:
      "Bytes came in clear behind the greeting, where a server waits: whoever sent them wants them taken for the server's own once TLS is on.",
    docs: 'docs/architecture.md',
  },
  TLS_WRONG_NAME: {
    ...TLS,
    hint: 'No token was sent. The NLB may have a stale target, or --rds-endpoint is not this database.',
    explanation:
      'The certificate is good but of another server: an NLB target that now is another database, an --rds-endpoint that is not the database behind --connect, or a CNAME in its place.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  TLS_UNKNOWN_CA: {
    ...TLS,
    hint: 'No token was sent. If the server really has a CA of its own, name its certificate with --ca.',
    explanation:
      "The certificate's authority is neither in the RDS bundle nor a public root nor named with --ca: this is not RDS, or something on the path puts its own certificate there.",
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },
  TLS_EXPIRED: {
    ...TLS,
    hint: 'No token was sent. Renew the server certificate in RDS, and check the clock of this machine.',
    explanation: "The server's certificate is past its end or before its beginning, or this machine's clock is wrong.",
    docs: `${RDS}/UsingWithRDS.SSL-certificate-rotation.html`,
  },
  TLS_FAILED: {
    ...TLS,
    hint: 'No token was sent. Check that the server speaks TLS 1.2 or newer.',
    explanation: 'TLS could not be agreed on, for a reason that the message names.',
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },

  AUTH_PLUGIN_UNEXPECTED: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: "The user is missing or was not made for IAM: CREATE USER '{user}' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'.",
    explanation:
      "The server asks for a method that is not IAM's. MySQL does so also for users that do not exist, to give nothing away.",
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.DBAccounts.html`,
  },

  CREDENTIALS_MISSING: {
    ...CREDENTIALS,
    hint: 'Set AWS_PROFILE or --profile, run aws configure, or give this machine, task or pod an IAM role.',
    explanation:
      'No link of the credential chain had AWS credentials: no environment variables, no profile, no role of a task, pod or machine.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_SSO_EXPIRED: {
    ...CREDENTIALS,
    hint: 'Run: {ssoLogin}',
    explanation: 'The profile signs in with IAM Identity Center, and that sign-in has ended.',
    docs: `${SDK}/feature-sso-credentials.html`,
  },
  CREDENTIALS_FAILED: {
    ...CREDENTIALS,
    hint: 'Check the profile in ~/.aws/config, with: aws sts get-caller-identity, or mysql-iam-proxy check.',
    explanation: 'Credentials are configured, but getting them failed as the message says.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_TIMEOUT: {
    ...CREDENTIALS,
    hint: 'Check the network path to AWS (SSO, STS, metadata) and how long credential_process takes.',
    explanation: 'Credentials took longer than the time for the login.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_PROGRAM_MISSING: {
    ...CREDENTIALS,
    hint: 'Install the program that credential_process names in ~/.aws/config, or correct its path there.',
    explanation:
      'The profile gets its credentials from a program, such as aws_signing_helper of IAM Roles Anywhere, and that program is not there.',
    docs: `${SDK}/feature-process-credentials.html`,
  },
  CREDENTIALS_REJECTED: {
    ...CREDENTIALS,
    hint: 'Get new credentials: these are expired, deleted or mistyped; see them with aws configure list.',
    explanation:
      'Credentials were found, but AWS itself does not accept them, so no database will accept a token signed with them.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CLOCK_SKEW: {
    ...CREDENTIALS,
    hint: 'Set the clock of this machine by NTP: a token carries its time of signing.',
    explanation:
      'The clock of this machine is minutes away from that of AWS. A token from the future, or older than 15 minutes, is refused.',
    docs: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html',
  },

  // What only check finds out, before, beside or after a login.
  IAM_AUTHENTICATION_OFF: {
    ...REFUSED,
    hint: 'Turn on IAM authentication of {rds}: aws rds modify-db-instance or modify-db-cluster --enable-iam-database-authentication.',
    explanation:
      'The database takes no tokens from anybody: IAM authentication is a setting of the instance or cluster, off by default.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Enabling.html`,
  },
  DATABASE_NOT_AVAILABLE: {
    ...CONNECT,
    hint: 'Start the database, or wait until RDS says that it is available.',
    explanation: 'RDS says that the database is stopped, starting or broken; nobody can log in.',
    docs: `${RDS}/accessing-monitoring.html`,
  },
  NLB_LISTENER_MISSING: {
    ...CONNECT,
    hint: 'Give the load balancer a TCP listener on the port of {dial}, or name the port of the one it has in --connect.',
    explanation: 'The load balancer is there but does not listen on the port that is dialled.',
    docs: `${NLB}/load-balancer-listeners.html`,
  },
  NLB_LISTENER_NOT_TCP: {
    ...CONNECT,
    hint: 'Make the listener on the port of {dial} a TCP listener.',
    explanation:
      'A TLS listener waits for TLS at once, but the MySQL protocol begins in clear; and TLS must reach the database itself.',
    docs: `${NLB}/load-balancer-listeners.html`,
  },
  NLB_TARGETS_MISSING: {
    ...CONNECT,
    hint: 'Register the present addresses of {rds} in the target group.',
    explanation: 'The listener forwards to a target group in which nothing is registered.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  NLB_TARGETS_STALE: {
    ...FINDING,
    hint: 'Register the present addresses of {rds} in the target group, and deregister the others.',
    explanation:
      'The target group has addresses that the RDS endpoint does not have (any longer): those of before a failover or maintenance, or of another database.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  NLB_TARGETS_UNHEALTHY: {
    ...FINDING,
    hint: "Let the load balancer's security group and subnets reach the port of the database.",
    explanation:
      'The health checks of the load balancer do not reach a target; with no healthy one left, an NLB tries them all.',
    docs: `${NLB}/target-group-health-checks.html`,
  },
  NLB_IDLE_TIMEOUT: {
    ...FINDING,
    hint: 'Set --keepalive well below the idle timeout of the NLB.',
    explanation:
      'An NLB forgets connections that are idle for longer than its timeout, 350 s by default, and answers the next packet with a reset.',
    docs: `${NLB}/update-idle-timeout.html`,
  },
  AWS_ACCESS_DENIED: {
    ...FINDING,
    hint: 'Allow the action that the message names, if check shall look there; logins do not need it.',
    explanation: 'The credentials may not look at that part of the AWS side.',
    docs: 'docs/check.md',
  },
  AWS_UNREACHABLE: {
    ...FINDING,
    hint: 'Nothing to do for logins, which do not need it; to look at the AWS side, run check where the AWS API can be reached.',
    explanation: 'The AWS API did not answer; in a private subnet that is so without a NAT gateway or a VPC endpoint.',
    docs: 'docs/check.md',
  },
  AWS_NOT_FOUND: {
    ...FINDING,
    hint: 'Check that the credentials are of the account, and --region of the region, that the database and the load balancer are in.',
    explanation: 'The API knows no database, or no load balancer, of that name in this account and region.',
    docs: 'docs/check.md',
  },
  TLS_EXPIRES_SOON: {
    ...FINDING,
    hint: 'Rotate the server certificate in RDS before it ends.',
    explanation: 'The certificate of the server is good for only a few more days; after that every login fails.',
    docs: `${RDS}/UsingWithRDS.SSL-certificate-rotation.html`,
  },
  SERVER_READ_ONLY: {
    ...FINDING,
    hint: 'Register the present addresses of {rds} with the NLB; if it is dialled directly, a failover may be under way.',
    explanation:
      'The endpoint is that of the writer, but the server that answers is read-only: most likely the writer of before a failover. Certificates cannot tell the two apart.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  MAX_CONNECT_ERRORS_LOW: {
    ...FINDING,
    hint: 'Set max_connect_errors to 1000000 or more in the parameter group: behind a load balancer all clients have its address.',
    explanation:
      'After so many connections in a row that break off before their login, the server locks out the address of the load balancer, and with it everybody (ERROR 1129).',
    docs: `${MYSQL}/blocked-host.html`,
  },
  PROXY_LOGIN_FAILED: {
    ...CONNECT,
    hint: 'This may be a bug in mysql-iam-proxy: please report it with the output of check --json.',
    explanation:
      'The login to the database went well, but the same through the proxy itself, with a MySQL client, did not.',
    docs: 'README.md',
  },

  SYNC_REFUSED: {
    ...SYNC,
    exitCode: 11,
    hint: 'What is registered was left as it is. See what the name servers say (dig {rds}) and how the targets are; the next run tries again.',
    explanation:
      'sync-targets has something to do that is not safe: the name servers gave no sane answer, kept changing it or contradict each other, or a new target is not healthy or not the database.',
    docs: 'docs/sync-targets.md#how-it-decides',
  },
  SYNC_DENIED: {
    ...SYNC,
    exitCode: 3,
    hint: 'Allow elasticloadbalancing:{action} in the IAM policy of whoever runs this: examples/sync-targets/iam-policy.json has all that is needed.',
    explanation: 'The IAM policy of these credentials does not let sync-targets see or change the target group.',
    docs: 'docs/sync-targets.md#where-to-run-it',
  },
  SYNC_TARGET_GROUP_INVALID: {
    ...SYNC,
    exitCode: 2,
    hint: 'Check --target-group-arn: it must name a target group of type ip, in the account of these credentials.',
    explanation:
      'There is no such target group, or its targets are instances, functions or load balancers in place of addresses.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  SYNC_FAILED: {
    ...SYNC,
    exitCode: 4,
    hint: 'Check the network path to the Elastic Load Balancing API (a NAT gateway, or a VPC endpoint) and its limits; the next run tries again.',
    explanation:
      'Elastic Load Balancing was not reached, throttled every attempt, or refused a call for a reason of its own, which the message has.',
    docs: 'docs/sync-targets.md#where-to-run-it',
  },

  CLIENT_CLOSED: {
    ...CLIENT,
    hint: 'The client left before it had logged in.',
    explanation:
      'The client ended the connection in the middle of the login; probes and port scans do so, and clients that do not like what they were offered.',
    docs: 'README.md#when-it-doesnt-work',
  },
  CLIENT_TIMEOUT: {
    ...CLIENT,
    hint: 'The client did not finish its login in time.',
    explanation: 'The client was silent in the middle of the login.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_MALFORMED: {
    ...CLIENT,
    hint: 'Connect with a MySQL client that speaks protocol 4.1 (2004) or newer.',
    explanation: "What the client sent is not a login of MySQL's protocol 4.1.",
    docs: 'README.md#use-it',
  },
  CLIENT_TLS_NOT_OFFERED: {
    ...CLIENT,
    hint: 'Turn SSL off, or to preferred, in the client: TLS is between the proxy and the database.',
    explanation: "The client refuses to go on without TLS, and the proxy's own port has none.",
    docs: 'README.md#use-it',
  },
  CHANGE_USER_UNSUPPORTED: {
    errno: 1235,
    sqlState: '42000',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn compression off in the client, or let it open a new connection in place of changing the user.',
    explanation:
      'The client asked to log in anew (COM_CHANGE_USER) inside a compressed session, where its answer cannot be exchanged for a token.',
    docs: 'docs/architecture.md#decisions',
  },
  CLIENT_TLS_FAILED: {
    ...CLIENT,
    hint: 'Check that the client speaks TLS 1.2 or newer and trusts the certificate of --tls-cert.',
    explanation:
      "The client and the proxy could not agree on TLS: the client does not trust the proxy's certificate, or speaks TLS that is too old.",
    docs: 'docs/reference.md#options',
  },
  CLIENT_TLS_REQUIRED: {
    errno: 3159,
    sqlState: 'HY000',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn SSL on in the client (ssl-mode REQUIRED, useSSL=true).',
    explanation: "The client logged in without TLS, which the proxy's own port demands.",
    docs: 'docs/reference.md#options',
  },
  CLIENT_ACCESS_DENIED: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'User and password are those of --local-user, or of local-users in the configuration file, not those of the database.',
    explanation: 'The proxy itself asks for a user and password, and these were not right; the database was not asked.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_THROTTLED: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'Mend the password in the client, then wait for its last attempts to end.',
    explanation:
      'From this address too many passwords were wrong, so its logins wait their turn and more than a few are refused.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_NOT_ALLOWED: {
    errno: 1130,
    sqlState: 'HY000',
    level: 'warn',
    exitCode: 7,
    hint: 'Add the address of the client to --allow-from.',
    explanation: "The client's address is in none of the networks of --allow-from.",
    docs: 'docs/reference.md#options',
  },
  TOO_MANY_CONNECTIONS: {
    errno: 1040,
    sqlState: '08004',
    level: 'warn',
    exitCode: 1,
    hint: 'Close connections that are not in use, or raise --max-connections.',
    explanation: 'As many clients are connected to the proxy as --max-connections allows.',
    docs: 'docs/reference.md#options',
  },
  FILE_LIMIT_REACHED: {
    errno: 1040,
    sqlState: '08004',
    level: 'error',
    exitCode: 1,
    hint: 'Raise the limit of open files (ulimit -n, LimitNOFILE), two for each session, or lower --max-connections.',
    explanation: 'The process may open no more files; each session takes two, one for each leg.',
    docs: 'docs/reference.md#options',
  },
  LOGIN_QUEUE_FULL: {
    errno: 1203,
    sqlState: '42000',
    level: 'warn',
    exitCode: 1,
    hint: 'Let clients pool their connections and come back one after the other, or raise --max-logins-per-second (AWS advises fewer than 200).',
    explanation:
      'More clients want to log in than --max-logins-per-second lets through in time; many at once, as after a failover, would only be refused by RDS.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.html`,
  },
  WAIT_TIMEOUT: {
    ...CONNECT,
    hint: 'Look at the log of the proxy, and whether --admin-listen or --listen are the same as there.',
    explanation: 'The proxy that wait asked did not say in time that it is ready.',
    docs: 'docs/reference.md#options',
  },
  PROXY_STOPPING: {
    errno: 1053,
    sqlState: '08S01',
    level: 'info',
    exitCode: 1,
    hint: 'Connect again, once it has been started again or to another one.',
    explanation: 'The proxy is being stopped: it takes no new sessions and ends those that it has.',
    docs: 'docs/reference.md',
  },
  SESSION_CLOSED: {
    errno: 1053,
    sqlState: '08S01',
    level: 'info',
    exitCode: 1,
    hint: 'Connect again; who closed it is in the log of mysql-iam-proxy.',
    explanation: 'Somebody who runs the proxy has closed this session.',
    docs: 'docs/reference.md',
  },
  SERVER_NOT_WRITER: {
    errno: 1290,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 7,
    hint: 'After a failover: connect again once the NLB targets behind {dial} follow {rds}; or leave out --require-writer.',
    explanation:
      'The server that answered is read-only, and --require-writer asks for one that takes writes: a reader endpoint, or the writer of before a failover.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  CLIENT_NO_USER: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'Name the database user in the client, or start mysql-iam-proxy with --user.',
    explanation: 'The client logged in without a user name, and no --user is set.',
    docs: 'README.md#use-it',
  },
} satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof specs

/** The table above. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorSpec>> = specs

/**
 * What to do about refusals that the server itself speaks, by their ERR_Packet error code: added to the server's message.
 * https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
 */
export const SERVER_ERRORS: Readonly<Record<number, ServerErrorSpec>> = {
  1040: {
    name: 'ER_CON_COUNT_ERROR',
    hint: 'The database behind {dial} has no connection left: raise max_connections or close some.',
    explanation:
      'As many clients are connected as max_connections allows; on RDS it follows from the memory of the instance.',
    docs: `${MYSQL}/too-many-connections.html`,
  },
  1044: {
    name: 'ER_DBACCESS_DENIED_ERROR',
    hint: "The login itself was right; give the user the database: GRANT SELECT ON the_database.* TO '{user}'@'%'.",
    explanation: 'The token was accepted, but the user has no privilege on the database that the client named.',
    docs: `${MYSQL}/grant.html`,
  },
  1045: {
    name: 'ER_ACCESS_DENIED_ERROR',
    hint: "Check rds-db:connect in the IAM policy for user '{user}' (case matters), that IAM authentication is on, and region {region}; mysql-iam-proxy check prints the policy.",
    explanation:
      'The server refused the token and does not say why: the IAM policy lacks rds-db:connect for this user and database, IAM authentication is off, the token was signed for another host or region, or the user is not there.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Troubleshooting.html`,
  },
  1049: {
    name: 'ER_BAD_DB_ERROR',
    hint: '',
    explanation:
      'The token was accepted, but there is no database of the name that the client gave; upper and lower case count.',
    docs: `${MYSQL}/identifier-case-sensitivity.html`,
  },
  1129: {
    name: 'ER_HOST_IS_BLOCKED',
    hint: 'Run FLUSH HOSTS on the database (from 8.4 on TRUNCATE TABLE performance_schema.host_cache), raise max_connect_errors, and see which health check or probe hits {dial}.',
    explanation:
      'Connections from this address broke off before their login max_connect_errors times in a row, so the server locks the address out. Behind an NLB that is everybody; its health checks of the database port alone can do it.',
    docs: `${MYSQL}/blocked-host.html`,
  },
  1130: {
    name: 'ER_HOST_NOT_PRIVILEGED',
    hint: 'Let the database user log in from this address (behind an NLB: the address of the NLB).',
    explanation:
      "No user of the server may come from this address; users that IAM lets in are best made for any, as 'name'@'%'.",
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.DBAccounts.html`,
  },
  1203: {
    name: 'ER_TOO_MANY_USER_CONNECTIONS',
    hint: "Close some connections of '{user}', or raise max_user_connections.",
    explanation: 'The user has as many connections open as max_user_connections allows each user.',
    docs: `${MYSQL}/user-resources.html`,
  },
  1226: {
    name: 'ER_USER_LIMIT_REACHED',
    hint: "Close some connections of '{user}', or raise the limit: ALTER USER '{user}' WITH MAX_USER_CONNECTIONS 0.",
    explanation: 'The user has reached a limit of its own account, such as MAX_USER_CONNECTIONS.',
    docs: `${MYSQL}/user-resources.html`,
  },
  1524: {
    name: 'ER_PLUGIN_IS_NOT_LOADED',
    hint: 'The server lacks the plugin of this user: IAM authentication is off, or this is not an RDS server.',
    explanation:
      'The user was made with AWSAuthenticationPlugin, which the server has only while IAM authentication is on for the instance or cluster.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Enabling.html`,
  },
  3118: {
    name: 'ER_ACCOUNT_HAS_BEEN_LOCKED',
    hint: "Unlock the account: ALTER USER '{user}'@'%' ACCOUNT UNLOCK.",
    explanation: 'The user is there and locked; nobody can log in as it.',
    docs: `${MYSQL}/account-locking.html`,
  },
  3159: {
    name: 'ER_SECURE_TRANSPORT_REQUIRED',
    hint: 'Dial the database or a TCP listener of the NLB: something between {dial} and the server ends the TLS.',
    explanation:
      'The server takes only TLS connections (require_secure_transport) and saw this one without. The proxy never logs in without TLS, so what stands between has taken it off.',
    docs: `${MYSQL}/using-encrypted-connections.html`,
  },
}
