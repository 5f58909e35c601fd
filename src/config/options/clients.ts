/** Who may connect to the proxy, and how. */
import { OPTION_VALUES } from '../../option-values.ts'
import { networkProblem, proxyProtocolProblem } from '../../value-checks.ts'
import type { OptionSpec } from '../option-spec.ts'

export const CLIENTS = {
  'local-user': {
    kind: 'string',
    restricts: true,
    placeholder: 'NAME',
    describe:
      'The one user that clients log in as here, with a separate password that is checked before a token is signed. The database user is --user, or else the same name. For several users, use local-users in the configuration file',
  },
  'local-password-file': {
    kind: 'string',
    placeholder: 'FILE',
    describe:
      "A file whose one line is the password of --local-user, or its hash as MySQL stores it ('*…', '$A$005$…')",
  },
  'local-password': {
    kind: 'string',
    environmentOnly: true,
    describe: 'Use this instead of --local-password-file',
  },
  'tls-cert': {
    kind: 'string',
    placeholder: 'FILE',
    describe:
      'The certificate (PEM, with its chain) for TLS to clients. The proxy reads it and --tls-key again when they change',
  },
  'tls-key': { kind: 'string', placeholder: 'FILE', describe: 'The private key of --tls-cert (PEM)' },
  'local-tls': {
    kind: 'string',
    ...OPTION_VALUES.localTls,
    describe:
      'Whether to offer TLS to clients without --tls-cert. auto offers it with a self-signed certificate, which the proxy makes itself and keeps in memory. It encrypts, but clients cannot verify it',
  },
  'require-tls': {
    kind: 'boolean',
    restricts: true,
    describe:
      'Refuse clients without TLS. Always on for an address that other machines can reach, unless --trust-network is set',
  },
  'allow-from': {
    kind: 'strings',
    restricts: true,
    placeholder: 'CIDR',
    separator: ',',
    check: networkProblem,
    describe: 'A network that clients may come from, for example 10.0.0.0/8; may be repeated (default: any)',
  },
  'proxy-protocol': {
    kind: 'strings',
    restricts: true,
    placeholder: 'CIDR|unix',
    separator: ',',
    check: proxyProtocolProblem,
    describe:
      'A network of load balancers that send the PROXY protocol, version 1 or 2, for example an NLB or HAProxy; may be repeated. Connections from there must begin with its header, and --allow-from applies to the client that it names. unix: those to a unix socket (default: none)',
  },
  'trust-network': {
    kind: 'boolean',
    describe:
      "Allow a non-loopback listener without local users or TLS. Use it only on isolated networks, such as a pod's: anyone who can reach the port can use the database",
  },
} as const satisfies Record<string, OptionSpec>
