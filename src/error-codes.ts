/**
 * The tables of errors. ERRORS: everything that can go wrong, with what the client gets. SERVER_ERRORS: what to do about
 * the server's own errors. CLIENT_ERRORS: what a client's own error numbers mean behind the proxy.
 */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** Where to look for the cause. */
export type ErrorSource = 'client' | 'proxy' | 'database' | 'network' | 'aws' | 'configuration'

/**
 * The ERR_Packet error codes that the proxy sends. All are the server's: a client library may reject 2000 to 2999 and 5000
 * to 5999, which it uses for its own errors. docs/decisions/0100-error-numbers.md says why each was chosen.
 * https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
 */
export type ServerErrno =
  | 1040 // ER_CON_COUNT_ERROR
  | 1042 // ER_BAD_HOST_ERROR
  | 1043 // ER_HANDSHAKE_ERROR
  | 1045 // ER_ACCESS_DENIED_ERROR
  | 1053 // ER_SERVER_SHUTDOWN
  | 1105 // ER_UNKNOWN_ERROR
  | 1130 // ER_HOST_NOT_PRIVILEGED
  | 1158 // ER_NET_READ_ERROR
  | 1159 // ER_NET_READ_INTERRUPTED
  | 1161 // ER_NET_WRITE_INTERRUPTED
  | 1235 // ER_NOT_SUPPORTED_YET
  | 1290 // ER_OPTION_PREVENTS_STATEMENT
  | 3159 // ER_SECURE_TRANSPORT_REQUIRED

/** 08…: connection trouble, so that pools discard the connection. 28000: wrong user or password. */
export type SqlState = '08001' | '08004' | '08S01' | '28000' | '42000' | 'HY000'

/** What the proxy does with one of its errors. */
export interface ErrorSpec {
  errno: ServerErrno
  sqlState: SqlState
  source: ErrorSource
  level: LogLevel
  /** exit code if the error ends a command */
  exitCode: number
  /** what to do about it; one or two sentences. Options stand without dashes: this text is for users of the library too. */
  hint: string
  /** what it means, in a sentence or two */
  explanation: string
  /** further reading: a URL, or a page of this project */
  docs: string
}

/** An error that the server itself sends. */
interface ServerErrorSpec {
  /** the server's symbol */
  name: string
  /** what to do about it, added to the server's message; '' if the message says it all */
  hint: string
  explanation: string
  docs: string
}

const RDS = 'https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide'
const NLB = 'https://docs.aws.amazon.com/elasticloadbalancing/latest/network'
const SDK = 'https://docs.aws.amazon.com/sdkref/latest/guide'
const RA = 'https://docs.aws.amazon.com/rolesanywhere/latest/userguide'
const MYSQL = 'https://dev.mysql.com/doc/refman/8.4/en'
const DIAL = { errno: 1042, sqlState: '08001', source: 'network', level: 'error', exitCode: 4 } as const
const HANDSHAKE = { errno: 1043, sqlState: '08S01', level: 'error', exitCode: 4 } as const
const TLS = { errno: 1043, sqlState: '08S01', level: 'error', exitCode: 5 } as const
const CREDENTIALS = { errno: 1105, sqlState: '08004', source: 'aws', level: 'error', exitCode: 3 } as const
const DENIED = { errno: 1045, sqlState: '28000', level: 'warn', exitCode: 7 } as const
const FINDING = { errno: 1105, sqlState: 'HY000', level: 'warn', exitCode: 1 } as const
const SYNC = { errno: 1105, sqlState: 'HY000', level: 'error' } as const
const CLIENT = { errno: 1043, sqlState: '08S01', source: 'client', level: 'info', exitCode: 1 } as const
const STOPPED = { errno: 1053, sqlState: '08S01', source: 'proxy', level: 'info', exitCode: 1 } as const
const specs = {
  CONFIG_INVALID: {
    errno: 1105,
    sqlState: 'HY000',
    source: 'configuration',
    level: 'error',
    exitCode: 2,
    hint: 'Run mysql-iam-proxy --help for the options.',
    explanation: 'An option is missing, unknown or invalid.',
    docs: 'docs/reference.md#options',
  },
  LISTEN_FAILED: {
    errno: 1105,
    sqlState: 'HY000',
    source: 'configuration',
    level: 'error',
    exitCode: 6,
    hint: 'Choose another address or port to listen on, for example 127.0.0.1:3307.',
    explanation:
      'The proxy cannot listen on the address of listen or admin-listen. Another program uses the port, or this machine does not have the address.',
    docs: 'docs/reference.md#options',
  },
  UPGRADE_FAILED: {
    errno: 1105,
    sqlState: 'HY000',
    source: 'configuration',
    level: 'error',
    exitCode: 6,
    hint: 'The previous process goes on. The log of the new one says why it did not start.',
    explanation:
      'An upgrade started a new process, and that process did not get as far as serving: its configuration is invalid, it cannot listen on an address, or its program is broken. The previous process serves as before.',
    docs: 'docs/upgrade.md',
  },
  INTERNAL: {
    errno: 1105,
    sqlState: '08S01',
    source: 'proxy',
    level: 'error',
    exitCode: 70,
    hint: 'This is a bug in mysql-iam-proxy. Please report it with the log line.',
    explanation: 'An unexpected error occurred inside the proxy.',
    docs: 'README.md',
  },

  DIAL_DNS: {
    ...DIAL,
    hint: 'Check the spelling of {dial} and that this machine can resolve it.',
    explanation:
      'The name to connect to is unknown to DNS, or DNS does not answer. Names of internal load balancers and private zones often resolve only inside the VPC.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },
  DIAL_REFUSED: {
    ...DIAL,
    hint: 'Check the port and the NLB listener. The target group must hold the current address of {rds}.',
    explanation:
      'A host answered, but nothing listens on that port. If it is this machine, a tunnel or port forward is not running. An NLB refuses connections if it has no listener on the port or no usable target.',
    docs: `${NLB}/load-balancer-troubleshooting.html`,
  },
  DIAL_TIMEOUT: {
    ...DIAL,
    hint: 'Check security groups and routes. If {dial} is an NLB, its targets must have the current address of {rds}.',
    explanation:
      'Nothing answered in time. A security group, network ACL, route or firewall drops the packets, or an NLB sends them to an address that is no longer in use.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },
  DIAL_FAILED: {
    ...DIAL,
    hint: 'Check the network path from this machine to {dial}.',
    explanation: 'The TCP connection failed. The message has the reason that the operating system gave.',
    docs: `${RDS}/CHAP_Troubleshooting.html`,
  },

  FORWARD_PROXY_FAILED: {
    ...DIAL,
    hint: 'Check the protocol, host and port in {setting}, and that this machine can reach the proxy.',
    explanation:
      'The forward proxy, which HTTPS_PROXY or the option proxy names, does not answer, or not in the protocol of its URL.',
    docs: 'docs/configuration.md#forward-proxies',
  },
  FORWARD_PROXY_AUTHENTICATION: {
    ...DIAL,
    source: 'configuration',
    hint: 'Correct USER:PASSWORD@ in {setting}. Percent-encode special characters.',
    explanation:
      'The forward proxy requires a user and password. They are missing or wrong in the URL of HTTPS_PROXY or of the option proxy.',
    docs: 'docs/configuration.md#forward-proxies',
  },
  FORWARD_PROXY_REFUSED: {
    ...DIAL,
    hint: 'Let the proxy in {setting} allow connections to {target}, or connect without it.',
    explanation:
      'The rules of the forward proxy do not allow this host or port. Many HTTP proxies allow only port 443 until they are configured.',
    docs: 'docs/configuration.md#forward-proxies',
  },
  FORWARD_PROXY_TARGET: {
    ...DIAL,
    hint: 'Check that {target} is right, and that the proxy in {setting} can resolve and reach it.',
    explanation:
      'The forward proxy works, but it cannot connect to the host behind it. The proxy resolves the name, not this machine.',
    docs: 'docs/configuration.md#forward-proxies',
  },

  TUNNEL_PROGRAM_MISSING: {
    ...DIAL,
    source: 'configuration',
    hint: 'Install the program that the option tunnel names, or correct its path. It runs without a shell.',
    explanation: 'The command of the option tunnel cannot be started: its program does not exist or is not executable.',
    docs: 'docs/tunnels.md#errors',
  },
  TUNNEL_FAILED: {
    ...DIAL,
    hint: 'Run the command of the option tunnel by hand. It must stay in the foreground and ask nothing.',
    explanation:
      'The command of the option tunnel ended before its local port accepted connections. The message has the last line that it printed.',
    docs: 'docs/tunnels.md#errors',
  },
  TUNNEL_TIMEOUT: {
    ...DIAL,
    hint: 'Run the command of the option tunnel by hand. It must listen on 127.0.0.1, on the port that the proxy fills in, and ask nothing.',
    explanation:
      'The tunnel did not accept connections within tunnel-timeout. Its command waits for something, such as a password, or it listens on another port.',
    docs: 'docs/tunnels.md#errors',
  },
  TUNNEL_LOST: {
    ...DIAL,
    errno: 1158,
    sqlState: '08S01',
    hint: 'Reconnect. The proxy starts the tunnel again. A statement that was running may have been executed.',
    explanation:
      'The tunnel ended while clients used it, and their sessions with it. The message has the last line that it printed. The proxy starts it again with growing pauses.',
    docs: 'docs/tunnels.md#errors',
  },
  TUNNEL_TARGET: {
    ...DIAL,
    hint: 'Check that the far end of the tunnel can resolve and reach {dial}: name, security groups and routes.',
    explanation:
      'The tunnel is open, but the connection through it closed before the greeting of the database, or no greeting came. Most often the far end of the tunnel cannot reach the database.',
    docs: 'docs/tunnels.md#errors',
  },

  SSM_ACCESS_DENIED: {
    ...DIAL,
    errno: 1105,
    sqlState: '08004',
    source: 'aws',
    exitCode: 3,
    hint: 'Allow {action} in the IAM policy of the credentials. The page docs/ssm.md of mysql-iam-proxy has the least policy.',
    explanation:
      'The IAM policy does not allow a session of Session Manager: ssm:StartSession on the target and on the document AWS-StartPortForwardingSessionToRemoteHost, or ssmmessages:OpenDataChannel on the session.',
    docs: 'docs/ssm.md#iam-policy',
  },
  SSM_TARGET_NOT_CONNECTED: {
    ...DIAL,
    errno: 1105,
    sqlState: '08004',
    source: 'aws',
    exitCode: 4,
    hint: 'Check that the target runs, is in this account and region, and that its SSM agent is online in Fleet Manager.',
    explanation:
      'Systems Manager knows no such target, or its SSM agent is not connected. The agent needs an instance profile with AmazonSSMManagedInstanceCore, and a way to the endpoints ssm and ssmmessages. A container needs ECS Exec.',
    docs: 'https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-troubleshooting.html',
  },
  SSM_UNSUPPORTED: {
    ...DIAL,
    errno: 1235,
    sqlState: '08004',
    source: 'configuration',
    exitCode: 4,
    hint: 'Install the Session Manager plugin and retry. The proxy uses it if it is installed.',
    explanation:
      'The SSM agent of the target is too old to forward connections to another host, or it asks for something that only the Session Manager plugin can do.',
    docs: 'docs/ssm.md#errors',
  },

  UPSTREAM_TIMEOUT: {
    ...DIAL,
    errno: 1159,
    sqlState: '08S01',
    source: 'database',
    hint: 'Check that {dial} is the MySQL port of the server and that the server is not overloaded.',
    explanation:
      'The TCP connection is open, but the server did not send the next step of the login in time. It is overloaded, or it is not MySQL. A paused Aurora Serverless database sends its greeting only when it has resumed, within greeting-timeout.',
    docs: `${MYSQL}/error-lost-connection.html`,
  },
  UPSTREAM_CLOSED: {
    ...DIAL,
    errno: 1158,
    sqlState: '08S01',
    hint: 'Check the health of the NLB targets behind {dial} and the server log of {rds}.',
    explanation:
      'The connection closed before the login was complete. Common causes: an NLB with unhealthy targets, a tunnel whose other end does not reach the database, a server that restarts or fails over, or a firewall on the path.',
    docs: `${MYSQL}/error-lost-connection.html`,
  },
  UPSTREAM_UNREACHABLE: {
    ...DIAL,
    errno: 1159,
    sqlState: '08S01',
    hint: 'Reconnect. If it happens again, check the network path to {dial}. The statement may have been executed.',
    explanation:
      'The path to the database was lost in the middle of a session: the database acknowledged nothing for the time of tcp-user-timeout, answered no keepalive probe, or this machine lost its own address. A failover, a lost NLB zone or a firewall drops the packets; or this machine slept, or changed its network or VPN. The message says which, as far as it is known.',
    docs: 'docs/configuration.md#lost-connections',
  },
  UPSTREAM_NOT_MYSQL: {
    ...HANDSHAKE,
    source: 'configuration',
    hint: 'Check that {dial} is the MySQL port of {rds} and not another service.',
    explanation:
      'The other side does not speak the MySQL protocol. Another service listens there, or the NLB has a TLS listener instead of a TCP one.',
    docs: 'README.md#what-aws-needs',
  },
  UPSTREAM_MALFORMED: {
    ...DIAL,
    errno: 1158,
    sqlState: '08S01',
    hint: 'Reconnect. If it happens again, turn the option compress off. The statement may have been executed.',
    explanation:
      'In an open session with the option compress, the server sent a compressed packet that is not valid in the MySQL protocol. The proxy ended the session, because the bytes after it cannot be followed.',
    docs: 'docs/configuration.md#slow-lines',
  },
  UPSTREAM_TOO_OLD: {
    ...HANDSHAKE,
    source: 'database',
    hint: 'IAM authentication needs RDS for MySQL 5.7 or newer, MariaDB 10.6 or newer, or Aurora MySQL 2 or newer.',
    explanation:
      'The server is too old for IAM authentication: its protocol cannot carry a token of more than 255 bytes.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.html`,
  },
  UPSTREAM_REFUSED_CONNECTION: {
    ...DIAL,
    errno: 1130,
    sqlState: '08004',
    source: 'database',
    hint: 'The server refused the connection before the login. Check its error log and its limits.',
    explanation: 'The server sent an error instead of its greeting, before any login.',
    docs: `${MYSQL}/problems-connecting.html`,
  },
  UPSTREAM_REFUSED_LOGIN: {
    ...DENIED,
    source: 'database',
    hint: 'The server refused the login. Its message says why.',
    explanation: 'The server received the login and refused it. Its own error number says why.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Troubleshooting.html`,
  },

  TLS_NOT_OFFERED: {
    ...TLS,
    source: 'database',
    hint: 'No token was sent. Check that {dial} leads to {rds} and that TLS is on at the server.',
    explanation: 'The server does not offer TLS. The proxy sends tokens only inside TLS.',
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },
  TLS_PLAINTEXT_INJECTED: {
    ...TLS,
    source: 'network',
    hint: 'No token was sent. Something on the path to {dial} may be tampering with the connection.',
    explanation:
      "Unencrypted bytes arrived between the server's greeting and TLS, where a server sends nothing. An attacker could inject such bytes to make them look like the server's own.",
    docs: 'docs/architecture.md',
  },
  TLS_WRONG_NAME: {
    ...TLS,
    source: 'network',
    hint: 'No token was sent. The NLB may have a stale target, or rds-endpoint is not this database.',
    explanation:
      'The certificate is valid but belongs to another server. An NLB target may now be another database, rds-endpoint may not be the database behind connect, or rds-endpoint is a CNAME.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  TLS_UNKNOWN_CA: {
    ...TLS,
    source: 'network',
    hint: 'No token was sent. For RDS in a new region, run mysql-iam-proxy trust update --rds-endpoint {rds}. If the server has its own CA, add it with the option ca.',
    explanation:
      "The certificate's CA is not in the RDS bundle, is not a public root, and was not added with the option ca. AWS has regions that are newer than the built-in bundle, and GovCloud and China have their own CAs: trust update downloads the CA certificates of a region. In a region that is built in, the server is probably not RDS.",
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },
  TLS_EXPIRED: {
    ...TLS,
    source: 'database',
    hint: 'No token was sent. Renew the server certificate in RDS, and check the clock of this machine.',
    explanation: "The server's certificate has expired or is not valid yet, or the clock of this machine is wrong.",
    docs: `${RDS}/UsingWithRDS.SSL-certificate-rotation.html`,
  },
  TLS_FAILED: {
    ...TLS,
    source: 'network',
    hint: 'No token was sent. Check that the server supports TLS 1.2 or newer.',
    explanation: 'The TLS handshake with the server failed. The message has the reason.',
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },

  AUTH_PLUGIN_UNEXPECTED: {
    ...DENIED,
    source: 'database',
    hint: "The user does not exist or was not created for IAM: CREATE USER '{user}' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'. For an RDS Proxy, let mysql-iam-proxy check say what it needs.",
    explanation:
      'The server asked for an authentication method that is not the one of IAM. MySQL also does this for users that do not exist, so as not to reveal which users exist. An RDS Proxy asks for a password if the secret of the user has IAMAuth DISABLED. Do not alter the user then: a standard RDS Proxy logs in to the database with its password.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.DBAccounts.html`,
  },

  CREDENTIALS_MISSING: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Set AWS_PROFILE or the option profile, run aws configure, or give this machine, task or pod an IAM role.',
    explanation:
      'No provider of the credential chain has AWS credentials: no environment variables, no profile, and no role for this machine, task or pod. In a container on EC2, instance metadata answers only with a hop limit of 2 or more.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_SSO_EXPIRED: {
    ...CREDENTIALS,
    hint: 'Run: {ssoLogin}',
    explanation:
      'The profile uses IAM Identity Center (SSO) or aws login, and its session has expired or was never started on this machine.',
    docs: `${SDK}/feature-sso-credentials.html`,
  },
  CREDENTIALS_MFA_REQUIRED: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Start the proxy on a terminal, where it asks for the code, or use a profile that needs none, for example of IAM Identity Center.',
    explanation:
      'The role of the profile needs a code of an MFA device (mfa_serial). The proxy asks for it on its terminal when a client logs in, unless sign-in is never. Without a terminal it cannot ask.',
    docs: 'docs/sign-in.md#mfa',
  },
  SIGN_IN_FAILED: {
    ...CREDENTIALS,
    hint: 'Try again with mysql-iam-proxy login.',
    explanation:
      'The sign-in to IAM Identity Center (AWS SSO) is not complete: it was denied, nobody signed in in time, or IAM Identity Center refused a request. The message has the reason.',
    docs: 'docs/sign-in.md',
  },
  CREDENTIALS_FAILED: {
    ...CREDENTIALS,
    hint: 'Check the profile in ~/.aws/config with aws sts get-caller-identity or mysql-iam-proxy check.',
    explanation: 'Credentials are configured, but getting them failed. The message has the reason.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_TIMEOUT: {
    ...CREDENTIALS,
    hint: 'Check the network path to AWS (SSO, STS, metadata) and how long credential_process takes.',
    explanation: 'The credentials did not arrive within the time limit of the login.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_PROGRAM_MISSING: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Install the program that credential_process names in ~/.aws/config, or correct its path there.',
    explanation:
      'The profile gets its credentials from a program, such as aws_signing_helper of IAM Roles Anywhere. That program does not exist on this machine.',
    docs: `${SDK}/feature-process-credentials.html`,
  },
  CREDENTIALS_PROFILE_MISSING: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Correct the option profile or AWS_PROFILE, or create the profile {profile} with aws configure.',
    explanation:
      'The option profile or AWS_PROFILE names a profile that is in neither ~/.aws/config nor ~/.aws/credentials.',
    docs: `${SDK}/file-format.html`,
  },
  CREDENTIALS_UNREACHABLE: {
    ...CREDENTIALS,
    source: 'network',
    hint: 'Check the network path from this machine to {service}, and HTTPS_PROXY and NO_PROXY if you use a proxy.',
    explanation:
      'The service that gives out the credentials did not answer, or something else answered for it. Signing in again does not help.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CREDENTIALS_CERTIFICATE_INVALID: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Correct or renew that file. The proxy reads it again for each request and needs no restart.',
    explanation:
      'The certificate or the key for IAM Roles Anywhere cannot be used: the file is missing or damaged, the certificate has expired or is that of an authority, or the key belongs to another certificate. AWS was not asked.',
    docs: `${RA}/trust-model.html`,
  },
  CREDENTIALS_ROLES_ANYWHERE: {
    ...CREDENTIALS,
    hint: "Check the trust anchor, the profile and the role in IAM Roles Anywhere: the certificate's issuer must be the trust anchor, and the role must trust rolesanywhere.amazonaws.com.",
    explanation:
      'IAM Roles Anywhere refused to give out credentials. The message has its reason. The certificate and its key fit each other.',
    docs: `${RA}/trust-model.html`,
  },
  CREDENTIALS_REJECTED: {
    ...CREDENTIALS,
    hint: 'Get new credentials: these have expired, were deleted or have a typing error. Run aws configure list to see them.',
    explanation: 'AWS itself rejects these credentials, so no database will accept a token that is signed with them.',
    docs: `${SDK}/standardized-credentials.html`,
  },
  CLOCK_SKEW: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Synchronize the clock of this machine (NTP). A token contains the time of its signature.',
    explanation:
      'The clock of this machine is minutes away from that of AWS. RDS rejects tokens that are older than 15 minutes or come from the future.',
    docs: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html',
  },

  REGION_UNKNOWN: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Set the option region to that of the writer of {rds}, or use the endpoint of its cluster.',
    explanation:
      "The name of an Aurora global endpoint has no AWS region, so each login reads it from the names on the server's certificate. This certificate names no region, or several.",
    docs: 'docs/decisions/0112-region-from-the-certificate.md',
  },

  // Only check reports these.
  IAM_AUTHENTICATION_OFF: {
    ...DENIED,
    source: 'aws',
    hint: 'Turn on IAM authentication of {rds}. It is a setting of an instance or a cluster. An RDS Proxy has it for each secret (IAMAuth REQUIRED).',
    explanation: 'IAM authentication is off, so the database accepts no tokens. It is off by default.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Enabling.html`,
  },
  DATABASE_NOT_AVAILABLE: {
    ...DIAL,
    source: 'database',
    hint: 'Start the database, or wait until RDS shows it as available.',
    explanation: 'RDS reports that the database is stopped, starting or failed. Nobody can log in.',
    docs: `${RDS}/accessing-monitoring.html`,
  },
  DATABASE_NOT_MYSQL: {
    ...DIAL,
    source: 'configuration',
    hint: 'Set rds-endpoint to a database of RDS for MySQL, RDS for MariaDB or Aurora MySQL.',
    explanation:
      'RDS reports another engine, such as PostgreSQL. The proxy speaks only the MySQL protocol; clients of PostgreSQL can send an IAM token as their password.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.html`,
  },
  NLB_NOT_ACTIVE: {
    ...DIAL,
    hint: 'Wait until the load balancer is active, or create it again if it has failed. Its reason is in the message.',
    explanation:
      'The load balancer could not be set up, is still being set up, or has too few resources to scale. Only an active load balancer takes all connections.',
    docs: 'https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerState.html',
  },
  NLB_LISTENER_MISSING: {
    ...DIAL,
    hint: 'Add a TCP listener to the load balancer on the port of {dial}, or connect to the port of an existing listener.',
    explanation: 'The load balancer exists, but it has no listener on this port.',
    docs: `${NLB}/load-balancer-listeners.html`,
  },
  NLB_LISTENER_NOT_TCP: {
    ...DIAL,
    hint: 'Make the listener on the port of {dial} a TCP listener.',
    explanation:
      'A TLS listener expects TLS from the first byte, but the MySQL protocol starts unencrypted. TLS must also reach the database itself.',
    docs: `${NLB}/load-balancer-listeners.html`,
  },
  NLB_TARGET_GROUP_NOT_TCP: {
    ...DIAL,
    hint: 'Create a target group of protocol TCP and let the listener on the port of {dial} forward to it.',
    explanation:
      'The load balancer passes the MySQL protocol on unchanged only to a target group of protocol TCP. The protocol of a target group cannot be changed.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  NLB_TARGETS_MISSING: {
    ...DIAL,
    hint: 'Register the current addresses of {rds} in the target group, or let sync-targets do it.',
    explanation:
      'The listener forwards to a target group that takes no connections for the database: it is empty, or all its targets are draining, unused or on another port.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  NLB_TARGETS_STALE: {
    ...FINDING,
    source: 'network',
    hint: 'Deregister the stale targets when the current addresses of {rds} are healthy, or let sync-targets do it.',
    explanation:
      'The target group has addresses or ports that the RDS endpoint does not have. They are from before a failover or maintenance, or belong to another database.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  NLB_TARGETS_UNHEALTHY: {
    ...FINDING,
    source: 'network',
    hint: "Let the load balancer's security group and subnets reach the port of the database.",
    explanation:
      'The load balancer does not find a target healthy. If no target is healthy, an NLB sends connections to all of them.',
    docs: `${NLB}/target-group-health-checks.html`,
  },
  NLB_IDLE_TIMEOUT: {
    ...FINDING,
    source: 'configuration',
    hint: 'Set keepalive well below the idle timeout of the NLB.',
    explanation:
      'An NLB drops connections that are idle for longer than its timeout, 350 s by default, and resets them at the next packet.',
    docs: `${NLB}/update-idle-timeout.html`,
  },
  AWS_ACCESS_DENIED: {
    ...FINDING,
    source: 'aws',
    hint: 'Grant the action in the message to let check inspect it. Logins do not need it.',
    explanation: 'These credentials may not inspect this part of the AWS account.',
    docs: 'docs/check.md',
  },
  AWS_UNREACHABLE: {
    ...FINDING,
    source: 'network',
    hint: 'Logins do not need the AWS API. To inspect the AWS side, run check on a machine that can reach it.',
    explanation:
      'The AWS API did not answer, or something else answered. A private subnet reaches it only through a NAT gateway or a VPC endpoint.',
    docs: 'docs/check.md',
  },
  AWS_THROTTLED: {
    ...FINDING,
    source: 'aws',
    exitCode: 4,
    hint: 'Try again later, and call less often: all callers in the account and region share the limit.',
    explanation: 'AWS answered, but throttled every attempt, because this account makes too many calls.',
    docs: 'https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html',
  },
  AWS_CALL_REFUSED: {
    ...FINDING,
    source: 'aws',
    exitCode: 4,
    hint: 'Correct what the message names. If it is a quota, such as TooManyTargets, remove what is unused or request a higher quota.',
    explanation: 'AWS answered and refused the call. The message has its reason.',
    docs: `${NLB}/load-balancer-limits.html`,
  },
  AWS_TLS_UNTRUSTED: {
    ...CREDENTIALS,
    source: 'network',
    hint: "Set AWS_CA_BUNDLE to a PEM file with the CA of your company's proxy, if that is the issuer.",
    explanation:
      'The certificate that an AWS endpoint presented is not from a trusted CA, or not for that name. Proxies that inspect TLS replace certificates by their own.',
    docs: 'docs/configuration.md#forward-proxies',
  },
  AWS_ENVIRONMENT_INVALID: {
    ...CREDENTIALS,
    source: 'configuration',
    hint: 'Correct {setting} where mysql-iam-proxy starts.',
    explanation:
      'A variable for calls to AWS is invalid: HTTPS_PROXY is not the URL of a proxy, or AWS_CA_BUNDLE or ca_bundle names a file without certificates.',
    docs: 'docs/configuration.md#forward-proxies',
  },
  AWS_NOT_FOUND: {
    ...FINDING,
    source: 'configuration',
    hint: 'Check that the credentials and the region are those of the database and the load balancer.',
    explanation: 'This account and region have no database, or no load balancer, with that name.',
    docs: 'docs/check.md',
  },
  TRUST_UPDATE_FAILED: {
    ...FINDING,
    source: 'network',
    exitCode: 5,
    hint: "The CA certificates that were trusted before stay trusted. Check that this machine reaches AWS's trust store, or download the bundle of the region elsewhere and add it with the option ca.",
    explanation:
      "The CA certificates of a region could not be downloaded from AWS, or the answer was not a bundle of that region's valid CA certificates. The message has the reason.",
    docs: `${RDS}/UsingWithRDS.SSL.html`,
  },
  TLS_EXPIRES_SOON: {
    ...FINDING,
    source: 'database',
    hint: 'Rotate the server certificate in RDS before it expires.',
    explanation: 'The certificate of the server expires in a few days. After that, every login fails.',
    docs: `${RDS}/UsingWithRDS.SSL-certificate-rotation.html`,
  },
  SERVER_READ_ONLY: {
    ...FINDING,
    source: 'database',
    hint: 'Register the current addresses of {rds} with the NLB. Without an NLB, a failover may be in progress.',
    explanation:
      'The endpoint is that of the writer, but the server is read-only. It is probably the writer from before a failover. Certificates cannot tell the two apart.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  MAX_CONNECT_ERRORS_LOW: {
    ...FINDING,
    source: 'database',
    hint: 'Set max_connect_errors to 1000000 or more in the parameter group: behind a load balancer all clients share its address.',
    explanation:
      'After this many connections in a row that close before their login, the server blocks their address (ERROR 1129). Behind a load balancer, this blocks every client.',
    docs: `${MYSQL}/blocked-host.html`,
  },
  PROXY_LOGIN_FAILED: {
    ...DIAL,
    source: 'proxy',
    hint: 'This may be a bug in mysql-iam-proxy. Please report it with the output of check --json.',
    explanation: 'The login to the database succeeded, but the login of a MySQL client through the proxy failed.',
    docs: 'README.md',
  },

  SYNC_REFUSED: {
    ...SYNC,
    source: 'network',
    exitCode: 11,
    hint: '{nextStep} The next run tries again.',
    explanation:
      'sync-targets needs to make a change that is not safe, so it stopped. DNS failed, kept changing or was contradictory, a new address is not the database, or another program undoes the changes. The message says why, and what it changed before.',
    docs: 'docs/sync-targets.md#when-it-stops',
  },
  SYNC_UNHEALTHY: {
    ...SYNC,
    source: 'network',
    exitCode: 12,
    hint: '{nextStep}',
    explanation:
      'The target group has the addresses of the database, but the load balancer does not find them all healthy. Old targets stay until they are.',
    docs: 'docs/sync-targets.md#when-it-stops',
  },
  SYNC_DENIED: {
    ...SYNC,
    source: 'aws',
    exitCode: 3,
    hint: 'Allow {action} in the IAM policy of these credentials. examples/sync-targets/iam-policy.json has all the actions that it needs.',
    explanation: 'The IAM policy of these credentials does not allow sync-targets to read or change the target group.',
    docs: 'docs/sync-targets.md#where-to-run-it',
  },
  SYNC_TARGET_GROUP_INVALID: {
    ...SYNC,
    source: 'configuration',
    exitCode: 2,
    hint: 'Check target-group-arn: it must name a target group of type ip, in the account of these credentials.',
    explanation:
      'The target group does not exist, or its targets are instances, functions or load balancers instead of IP addresses.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  SYNC_FAILED: {
    ...SYNC,
    source: 'aws',
    exitCode: 4,
    hint: 'Check the network path to the Elastic Load Balancing API (a NAT gateway, or a VPC endpoint). The next run tries again.',
    explanation:
      'Elastic Load Balancing was unreachable, did not answer in time, or had an internal error, or something else answered.',
    docs: 'docs/sync-targets.md#where-to-run-it',
  },

  CLIENT_CLOSED: {
    ...CLIENT,
    hint: 'The client disconnected before its login was complete.',
    explanation:
      'The client closed the connection during the login. Probes and port scans do this, and so do clients that reject the offered TLS or authentication method.',
    docs: 'README.md#when-it-doesnt-work',
  },
  CLIENT_TIMEOUT: {
    ...CLIENT,
    hint: 'The client did not complete its login in time.',
    explanation: 'The client sent nothing for too long during the login.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_UNREACHABLE: {
    ...CLIENT,
    errno: 1161,
    level: 'warn',
    hint: 'Check the network path between the client and the proxy.',
    explanation:
      'The client acknowledged nothing for the time of tcp-user-timeout, so the proxy ended its session. The client gets no error. Its machine has stopped, or something drops its packets.',
    docs: 'docs/configuration.md#lost-connections',
  },
  CLIENT_WRITE_TIMEOUT: {
    ...CLIENT,
    errno: 1161,
    level: 'warn',
    hint: 'Let the client read its result, or raise client-write-timeout.',
    explanation:
      'The client requested a result and read none of it for the time of client-write-timeout, so the proxy ended its session. The client gets no error, because it does not read.',
    docs: 'docs/reference.md#options',
  },
  BUFFER_LIMIT_REACHED: {
    ...CLIENT,
    errno: 1161,
    level: 'warn',
    hint: 'Find the clients that request large results and do not read them.',
    explanation:
      'All sessions together buffered 256 MiB, or a quarter of the memory if that is less. The proxy then ends the sessions of clients that have read nothing for 5 seconds, the largest first. The client gets no error, because it does not read.',
    docs: 'docs/security.md',
  },
  CLIENT_MALFORMED: {
    ...CLIENT,
    hint: 'Use a MySQL client that speaks protocol 4.1 (2004) or newer. If this one does, turn compression off in it.',
    explanation:
      'The client sent something that is not valid in the MySQL protocol 4.1: in its login, or in a compressed session.',
    docs: 'README.md#use-it',
  },
  PROXY_HEADER_UNEXPECTED: {
    ...CLIENT,
    level: 'warn',
    hint: 'Set proxy-protocol to the networks of the load balancer, or turn the PROXY protocol off there.',
    explanation:
      'The connection began with a header of the PROXY protocol, with which load balancers name the real client. The proxy accepts it only from the networks of proxy-protocol.',
    docs: 'docs/security.md#behind-a-load-balancer',
  },
  PROXY_HEADER_INVALID: {
    ...CLIENT,
    level: 'warn',
    hint: 'Turn on the PROXY protocol in the load balancer, or remove this address from proxy-protocol.',
    explanation:
      'The connection came from a network of proxy-protocol, but did not begin with a valid header of the PROXY protocol, version 1 or 2, within 5 s.',
    docs: 'docs/security.md#behind-a-load-balancer',
  },
  CLIENT_TLS_NOT_OFFERED: {
    ...CLIENT,
    hint: 'Remove local-tls off from the proxy, or turn SSL off in the client. The connection to the database always uses TLS.',
    explanation: 'The client requires TLS, but the proxy does not offer it, because of local-tls off.',
    docs: 'docs/security.md#tls-to-clients',
  },
  CHANGE_USER_UNSUPPORTED: {
    errno: 1235,
    sqlState: '42000',
    source: 'client',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn compression off in the client, or let it open a new connection instead of changing the user.',
    explanation:
      "The client sent COM_CHANGE_USER in a compressed session. The proxy cannot replace the client's answer with a token there.",
    docs: 'docs/architecture.md#decisions',
  },
  CLIENT_TLS_FAILED: {
    ...CLIENT,
    hint: 'Turn off certificate verification in the client, or give the proxy a certificate that the client trusts (tls-cert). For a client without TLS 1.2, turn SSL off in the client or set local-tls off.',
    explanation:
      "The TLS handshake between the client and the proxy failed. The client does not trust the proxy's certificate, or its TLS is too old. Without tls-cert, the certificate is self-signed, and no client can verify it.",
    docs: 'docs/security.md#tls-to-clients',
  },
  CLIENT_TLS_REQUIRED: {
    errno: 3159,
    sqlState: '08004',
    source: 'client',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn SSL on in the client (ssl-mode REQUIRED, useSSL=true).',
    explanation: 'The client logged in without TLS, but this port of the proxy requires it.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_ACCESS_DENIED: {
    ...DENIED,
    source: 'client',
    hint: 'Use the user and password of local-user or local-users in the configuration of the proxy, not those of the database.',
    explanation: 'The proxy requires a local user and password, and these were wrong. The database was not involved.',
    docs: 'docs/reference.md#options',
  },
  CLIENT_THROTTLED: {
    ...DENIED,
    source: 'client',
    hint: 'Retry. Find the clients with a wrong password: the log names their addresses.',
    explanation:
      'Too many recent logins as this user had a wrong password, so the proxy did not check this one. It checks a few passwords per second.',
    docs: 'docs/security.md#wrong-passwords',
  },
  CLIENT_NOT_ALLOWED: {
    errno: 1130,
    sqlState: '08004',
    source: 'client',
    level: 'warn',
    exitCode: 7,
    hint: 'Add the address of the client to allow-from.',
    explanation: "The client's address is in none of the networks of allow-from.",
    docs: 'docs/reference.md#options',
  },
  TOO_MANY_CONNECTIONS: {
    errno: 1040,
    sqlState: '08004',
    source: 'proxy',
    level: 'warn',
    exitCode: 1,
    hint: 'Close unused connections, or raise max-connections.',
    explanation: 'The number of connected clients has reached max-connections.',
    docs: 'docs/reference.md#options',
  },
  TOO_MANY_UNAUTHENTICATED: {
    errno: 1040,
    sqlState: '08004',
    source: 'proxy',
    level: 'warn',
    exitCode: 1,
    hint: 'Retry. Find the clients that connect without logging in: the log names their addresses. Or raise max-unauthenticated.',
    explanation:
      'Clients that have not logged in yet hold at most max-unauthenticated server connections. This client waited for a place until login-timeout, or too many others waited already. While a paused database resumes, clients wait for longer.',
    docs: 'docs/security.md#clients-that-do-not-log-in',
  },
  FILE_LIMIT_REACHED: {
    errno: 1040,
    sqlState: '08004',
    source: 'proxy',
    level: 'error',
    exitCode: 1,
    hint: 'Raise the open-file limit (ulimit -n, LimitNOFILE) to two files per session, or lower max-connections.',
    explanation: 'The process has reached its open-file limit. Each session uses two files.',
    docs: 'docs/reference.md#options',
  },
  LOGIN_QUEUE_FULL: {
    errno: 1040,
    sqlState: '08004',
    source: 'proxy',
    level: 'warn',
    exitCode: 1,
    hint: 'Use a connection pool that reconnects gradually, or raise max-logins-per-second (AWS advises fewer than 200).',
    explanation:
      'More clients want to log in than max-logins-per-second allows in time. RDS refuses logins if too many arrive at once, for example after a failover.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.html`,
  },
  WAIT_TIMEOUT: {
    ...DIAL,
    source: 'proxy',
    hint: 'Check the log of the proxy, and that wait uses the same admin-listen, health-listen or listen.',
    explanation: 'The proxy did not become ready in the time that wait allows.',
    docs: 'docs/reference.md#options',
  },
  PROXY_NOT_FOUND: {
    errno: 1105,
    sqlState: 'HY000',
    source: 'proxy',
    level: 'error',
    exitCode: 1,
    hint: 'Run the command as the user of the proxy. A proxy without a home directory, as in many containers, takes only signals: SIGHUP and SIGTERM.',
    explanation: 'reload and stop found no running proxy of this user that they may ask.',
    docs: 'docs/configuration.md#reload',
  },
  SERVICE_FAILED: {
    errno: 1105,
    sqlState: 'HY000',
    source: 'proxy',
    level: 'error',
    exitCode: 1,
    hint: 'Read what the service manager says, and the log of the service. Nothing stays installed after a failed first install.',
    explanation:
      'The service manager of this machine (systemd, launchd, Task Scheduler) refused a command, or its files cannot be written.',
    docs: 'docs/service.md',
  },
  PROXY_STOPPING: {
    ...STOPPED,
    hint: 'Reconnect once the proxy has restarted, or connect to another one.',
    explanation: 'The proxy is shutting down. It accepts no new sessions and closes those that are open.',
    docs: 'docs/reference.md',
  },
  SESSION_CLOSED: {
    ...STOPPED,
    hint: 'Reconnect. The log of mysql-iam-proxy says who closed the session.',
    explanation: 'An operator of the proxy closed this session.',
    docs: 'docs/reference.md',
  },
  SERVER_NOT_WRITER: {
    errno: 1290,
    sqlState: '08004',
    source: 'database',
    level: 'error',
    exitCode: 7,
    hint: 'After a failover, reconnect once the NLB targets behind {dial} follow {rds}. Or turn require-writer off.',
    explanation:
      'The server is read-only, but require-writer is on. The server is a reader, or the writer from before a failover.',
    docs: `${NLB}/load-balancer-target-groups.html`,
  },
  CLIENT_NO_USER: {
    ...DENIED,
    source: 'client',
    hint: 'Set the database user in the client, or set the option user of the proxy.',
    explanation: 'The client sent no user name, and the option user of the proxy is not set.',
    docs: 'README.md#use-it',
  },
} satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof specs

/** Every error of this project by its code: what the client gets, the exit code, whose fault it is, and what to do. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorSpec>> = specs

/**
 * What to do about errors that the server itself sends, by their number: added to the server's message.
 * https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
 */
export const SERVER_ERRORS: Readonly<Record<number, ServerErrorSpec>> = {
  1040: {
    name: 'ER_CON_COUNT_ERROR',
    hint: 'The database behind {dial} has no free connection: raise max_connections or close some.',
    explanation:
      'The number of connected clients has reached max_connections. On RDS its default depends on the memory of the instance.',
    docs: `${MYSQL}/too-many-connections.html`,
  },
  1044: {
    name: 'ER_DBACCESS_DENIED_ERROR',
    hint: "The token was accepted. Grant the user access to the database: GRANT SELECT ON the_database.* TO '{user}'@'%'.",
    explanation: 'The token was accepted, but the user has no privileges on the database that the client named.',
    docs: `${MYSQL}/grant.html`,
  },
  1045: {
    name: 'ER_ACCESS_DENIED_ERROR',
    hint: "Check rds-db:connect in the IAM policy for user '{user}' (case matters), that IAM authentication is on, region {region}, and this machine's clock. mysql-iam-proxy check prints the policy.",
    explanation:
      'The server refused the token and does not say why. The IAM policy lacks rds-db:connect for this user and database, IAM authentication is off, the token was signed for another host or region or with a wrong clock, or the user does not exist. An RDS Proxy also sends it if none of its secrets has that user and its password.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Troubleshooting.html`,
  },
  1049: {
    name: 'ER_BAD_DB_ERROR',
    hint: '',
    explanation:
      'The token was accepted, but the database that the client named does not exist. Names are case-sensitive.',
    docs: `${MYSQL}/identifier-case-sensitivity.html`,
  },
  1129: {
    name: 'ER_HOST_IS_BLOCKED',
    hint: 'Run FLUSH HOSTS on the database (on MySQL 8.4 and newer TRUNCATE TABLE performance_schema.host_cache), raise max_connect_errors, and find the health check or probe that connects to {dial}.',
    explanation:
      'max_connect_errors connections in a row from this address closed before their login, so the server blocks the address. Behind an NLB this blocks every client. Health checks of the database port alone can cause it.',
    docs: `${MYSQL}/blocked-host.html`,
  },
  1130: {
    name: 'ER_HOST_NOT_PRIVILEGED',
    hint: 'Let the database user log in from this address. Behind an NLB, it is the address of the NLB.',
    explanation: "No user of the server may log in from this address. Create IAM users for any host: 'name'@'%'.",
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.DBAccounts.html`,
  },
  1203: {
    name: 'ER_TOO_MANY_USER_CONNECTIONS',
    hint: "Close some connections of '{user}', or raise max_user_connections.",
    explanation: 'The user has as many open connections as max_user_connections allows for each user.',
    docs: `${MYSQL}/user-resources.html`,
  },
  1226: {
    name: 'ER_USER_LIMIT_REACHED',
    hint: "Close some connections of '{user}', or raise the limit: ALTER USER '{user}' WITH MAX_USER_CONNECTIONS 0.",
    explanation: 'The user has reached a limit of its account, such as MAX_USER_CONNECTIONS.',
    docs: `${MYSQL}/user-resources.html`,
  },
  1524: {
    name: 'ER_PLUGIN_IS_NOT_LOADED',
    hint: 'The server has not loaded the plugin of this user: IAM authentication is off, or this is not an RDS server.',
    explanation:
      'The user was created with AWSAuthenticationPlugin. The server loads it only while IAM authentication is on for the instance or cluster.',
    docs: `${RDS}/UsingWithRDS.IAMDBAuth.Enabling.html`,
  },
  3118: {
    name: 'ER_ACCOUNT_HAS_BEEN_LOCKED',
    hint: "Unlock the account: ALTER USER '{user}'@'%' ACCOUNT UNLOCK.",
    explanation: 'The user exists but is locked. Nobody can log in as this user.',
    docs: `${MYSQL}/account-locking.html`,
  },
  4151: {
    name: 'ER_ACCOUNT_HAS_BEEN_LOCKED (MariaDB)',
    hint: "Unlock the account: ALTER USER '{user}'@'%' ACCOUNT UNLOCK.",
    explanation: 'The user exists in MariaDB but is locked. Nobody can log in as this user.',
    docs: 'https://mariadb.com/kb/en/account-locking/',
  },
  3159: {
    name: 'ER_SECURE_TRANSPORT_REQUIRED',
    hint: 'Connect to the database or to a TCP listener of the NLB: something between {dial} and the server terminates TLS.',
    explanation:
      'The server requires TLS (require_secure_transport), but this connection arrived without it. The proxy never logs in without TLS, so something in between removed it.',
    docs: `${MYSQL}/using-encrypted-connections.html`,
  },
}

/**
 * What to do instead, if the proxy dials a port of its own machine, where a tunnel or port forward listens. By our code or
 * the server's error number. docs/laptop.md has the same words.
 */
export const FORWARD_HINTS: Readonly<Partial<Record<ErrorCode | number, string>>> = {
  DIAL_REFUSED: 'Nothing listens on {dial}. Start the tunnel or port forward that ends there, then reconnect.',
  DIAL_TIMEOUT: 'The tunnel or port forward on {dial} accepts no connections. Start it again.',
  DIAL_FAILED: 'Check the tunnel or port forward on {dial}.',
  UPSTREAM_TIMEOUT:
    'The tunnel or port forward on {dial} is silent. Start it again, and check that its other end can reach {rds}.',
  UPSTREAM_CLOSED:
    'The tunnel or port forward on {dial} is open, but its other end does not reach {rds}. See its output, and the security group of the database.',
  UPSTREAM_UNREACHABLE:
    'Reconnect. If the tunnel or port forward on {dial} has stopped, start it again. The statement may have been executed.',
  UPSTREAM_NOT_MYSQL: 'Another program listens on {dial}. Let the tunnel or port forward lead to {rds}.',
  TLS_NOT_OFFERED:
    'No token was sent. Check that {dial} is the tunnel or port forward to {rds}, and not a MySQL server of this machine.',
  TLS_WRONG_NAME:
    'No token was sent. The tunnel or port forward on {dial} leads to another database, or rds-endpoint is not this one.',
  TLS_UNKNOWN_CA:
    'No token was sent. Check where the tunnel on {dial} leads. For RDS in a new region, run mysql-iam-proxy trust update --rds-endpoint {rds}. If the server has its own CA, add it with the option ca.',
  SERVER_NOT_WRITER:
    'After a failover, start the tunnel or port forward on {dial} again: its other end must look up {rds} again. Or turn require-writer off.',
  1130: 'Let the database user log in from any host. Through a tunnel, it is the address of the other end.',
  3159: 'Let the tunnel or port forward on {dial} lead to the database: something between {dial} and the server terminates TLS.',
}

/**
 * What a client's own error numbers mean if the client connects to the proxy. The client makes these errors itself: they
 * are about its connection to the proxy, not about the database. The proxy never sends them.
 * https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html
 */
export const CLIENT_ERRORS: Readonly<Record<number, ServerErrorSpec>> = {
  2002: {
    name: 'CR_CONNECTION_ERROR',
    hint: 'Connect to 127.0.0.1 and the port of the proxy. For a Unix socket, check that the proxy listens on that path.',
    explanation:
      'The client found no server on its Unix socket. With the host localhost, many clients use the default socket of a local MySQL server instead of TCP. MariaDB clients also show it if nothing listens on a TCP port.',
    docs: `${MYSQL}/can-not-connect-to-server.html`,
  },
  2003: {
    name: 'CR_CONN_HOST_ERROR',
    hint: 'Check that the proxy runs, and that the client uses the host and port of its option listen.',
    explanation:
      'Nothing answers at the host and port of the client: the proxy does not run, listens on another address, or a firewall is in between. If the proxy cannot reach the database, clients get ERROR 1042 instead.',
    docs: `${MYSQL}/can-not-connect-to-server.html`,
  },
  2005: {
    name: 'CR_UNKNOWN_HOST',
    hint: 'Check the host in the client: it must be the machine of the proxy, usually 127.0.0.1.',
    explanation:
      'The client cannot resolve the host name that it was given. If the proxy cannot resolve the name of the database, clients get ERROR 1042 instead.',
    docs: `${MYSQL}/can-not-connect-to-server.html`,
  },
  2006: {
    name: 'CR_SERVER_GONE_ERROR',
    hint: 'Reconnect. Check the log line of the session for the side that closed it, and compare wait_timeout and max_allowed_packet of the server.',
    explanation:
      'The connection was already closed when the client sent a statement. The server closed it after wait_timeout or for a packet larger than max_allowed_packet, or the proxy stopped.',
    docs: `${MYSQL}/gone-away.html`,
  },
  2013: {
    name: 'CR_SERVER_LOST',
    hint: 'Check the log line of the session: it says which side closed the connection. During a login, raise the connect timeout of the client.',
    explanation:
      'The connection closed while the client waited for an answer: a failover, a reset by a load balancer, or a killed session. During a login, the timeout of the client was shorter than connect-timeout, greeting-timeout and login-timeout of the proxy.',
    docs: `${MYSQL}/error-lost-connection.html`,
  },
  2026: {
    name: 'CR_SSL_CONNECTION_ERROR',
    hint: "Set SSL to preferred or off in the client, or let it trust the proxy's certificate. For MariaDB's client: --skip-ssl, or --disable-ssl-verify-server-cert.",
    explanation:
      "TLS between the client and the proxy failed. The client does not trust the proxy's certificate, which is self-signed without tls-cert, or it requires TLS and the proxy has local-tls off. TLS to the database is not involved.",
    docs: 'docs/security.md#tls-to-clients',
  },
  2027: {
    name: 'CR_MALFORMED_PACKET',
    hint: 'Update mysql-iam-proxy, and see its log for the real error. If it persists, report it as a bug with the name and version of the client.',
    explanation:
      'The client could not read a packet. MariaDB Connector/C 3.3.9 and newer also show this if an error has a number of the client range (2000 to 2999, 5000 to 5999). mysql-iam-proxy sends none of these, but other proxies do.',
    docs: 'docs/decisions/0100-error-numbers.md',
  },
  2059: {
    name: 'CR_AUTH_PLUGIN_CANNOT_LOAD',
    hint: 'Update the client or its authentication plugins. If the proxy has local users, choose a method that the client supports.',
    explanation:
      'The client lacks the plugin for the authentication method, for example mysql_native_password (removed in MySQL 9) or caching_sha2_password (missing in old clients).',
    docs: `${MYSQL}/pluggable-authentication.html`,
  },
  2061: {
    name: 'CR_AUTH_PLUGIN_ERR',
    hint: 'Check the local password. Then turn on SSL in the client, or allow it to fetch the public key (--get-server-public-key, allowPublicKeyRetrieval=true).',
    explanation:
      'The authentication plugin of the client gave up. Most often the proxy asked for the full password, as MySQL does after a wrong one, but the connection to the proxy has no TLS.',
    docs: `${MYSQL}/caching-sha2-pluggable-authentication.html`,
  },
}
