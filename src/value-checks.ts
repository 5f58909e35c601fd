/** Checks of single values. Each says what is wrong, for the text after the option's name; undefined where nothing is. */
import { isIP, isIPv4 } from 'node:net'
import { hostPortProblem, isRegion, withoutSecrets } from './endpoint.ts'

export type ValueCheck = (value: string) => string | undefined

/** An address, or a network as 10.0.0.0/8 and fd00::/8. */
export function networkProblem(network: string): string | undefined {
  const [address = '', bits, ...more] = network.split('/')
  const maxBits = isIPv4(address) ? 32 : 128
  const hasValidBits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= maxBits)
  if (isIP(address) !== 0 && hasValidBits && more.length === 0) return undefined
  return `"${network}" is not a network such as 10.0.0.0/8`
}

/** The same for a value of proxyProtocol: a network, or the proxy's own unix socket. */
export function proxyProtocolProblem(text: string): string | undefined {
  return text === 'unix' ? undefined : networkProblem(text)
}

export function regionNameProblem(region: string): string | undefined {
  return isRegion(region) ? undefined : `"${region}" is not an AWS region such as eu-west-1`
}

export function addressProblem(address: string): string | undefined {
  return isIP(address) === 0 ? `"${address}" is not an IP address` : undefined
}

/** An address with or without a port, also IPv6 without brackets. */
export function resolverProblem(resolver: string): string | undefined {
  if (isIP(resolver) !== 0) return undefined
  const host = resolver.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  if (hostPortProblem(resolver) === undefined && isIP(host) !== 0) return undefined
  return `"${resolver}" is not the address of a name server, such as 10.0.0.2 or 10.0.0.2:53`
}

/** A host and a port: for the admin listener, no port is the usual one. */
export function hostAndPortProblem(text: string): string | undefined {
  const problem = hostPortProblem(text)
  if (problem || /:\d+$/.test(text)) return problem
  return `"${text}" needs a port, as in 127.0.0.1:9090`
}

export const TARGET_GROUP_ARN = /^arn:[\w-]+:elasticloadbalancing:([a-z0-9-]+):\d{12}:targetgroup\/[\w-]+\/[0-9a-f]+$/

export function targetGroupProblem(arn: string): string | undefined {
  if (TARGET_GROUP_ARN.test(arn)) return undefined
  return `"${arn}" is not arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID`
}

const TRUST_ANCHOR_ARN = /^arn:(aws[\w-]*):rolesanywhere:([a-z0-9-]+):\d{12}:trust-anchor\/[\w-]+$/
const PROFILE_ARN = /^arn:(aws[\w-]*):rolesanywhere:([a-z0-9-]+):\d{12}:profile\/[\w-]+$/
const ROLE_ARN = /^arn:aws[\w-]*:iam::\d{12}:role\/\S+$/

export function trustAnchorProblem(arn: string): string | undefined {
  return TRUST_ANCHOR_ARN.test(arn) ? undefined : `"${arn}" is not arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`
}

export function rolesAnywhereProfileProblem(arn: string): string | undefined {
  return PROFILE_ARN.test(arn) ? undefined : `"${arn}" is not arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID`
}

export function roleProblem(arn: string): string | undefined {
  return ROLE_ARN.test(arn) ? undefined : `"${arn}" is not arn:aws:iam::ACCOUNT:role/NAME`
}

/** The answer has secret keys, so only HTTPS will do. */
export function httpsProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isPlain = url?.protocol === 'https:' && url.pathname === '/' && !url.search && !url.username && !url.password
  return isPlain
    ? undefined
    : `"${withoutSecrets(text)}" is not an address such as https://rolesanywhere.eu-west-1.amazonaws.com`
}

/** https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html */
export function sessionNameProblem(name: string): string | undefined {
  return /^[\w+=,.@-]{2,64}$/.test(name) ? undefined : `"${name}" is not 2 to 64 letters, digits or any of _+=,.@-`
}

export function rangeProblem(value: number, { min, max }: { min: number; max: number }): string | undefined {
  return value >= min && value <= max ? undefined : `${value} is not from ${min} to ${max}`
}

/** What is wrong with the number of a port to listen on; 0 takes a free port. */
export const portProblem: ValueCheck = port => {
  return /^\d{1,5}$/.test(port) && Number(port) <= 65_535
    ? undefined
    : `"${port}" is not a port; write a number such as 3307`
}

/** What is wrong with the name of an endpoint that add writes: it must also work as a word of a command line. */
export function endpointNameProblem(text: string): string | undefined {
  if (/^[\p{L}\p{N}][\p{L}\p{N}_-]*$/u.test(text)) return undefined
  return `"${text}" is not a name of letters, digits, - and _ that begins with a letter or digit`
}

/** Of MariaDB; MySQL takes 32. https://mariadb.com/kb/en/identifier-names/ */
const MAX_USER_NAME = 128

/** What is wrong with the name of a database user. */
export function databaseUserProblem(text: string): string | undefined {
  if (text === '') return 'the name of a database user is missing'
  if (/\p{Cc}/u.test(text)) return 'a database user has no control characters in its name'
  if (text.length > MAX_USER_NAME) return `a database user has at most ${MAX_USER_NAME} characters in its name`
  if (/^arn:/i.test(text)) return 'this is an ARN; write the name of the user in the database'
  return undefined
}

export function processIdProblem(text: string): string | undefined {
  return /^[1-9]\d{0,9}$/.test(text) ? undefined : `"${text}" is not a process id`
}
