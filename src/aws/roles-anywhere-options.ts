/** The options of IAM Roles Anywhere, and what is wrong with them. */
import { OPTION_VALUES, type OptionNames } from '../option-values.ts'
import {
  httpsProblem,
  rangeProblem,
  roleProblem,
  rolesAnywhereProfileProblem,
  sessionNameProblem,
  trustAnchorProblem,
} from '../value-checks.ts'

/** How a host outside AWS gets credentials with its certificate. Paths are of PEM files, which are read again for each call. */
export interface RolesAnywhereOptions {
  /** The certificate. Certificates after the first count as intermediates */
  certificateFile: string
  /** Its private key, RSA or EC: PKCS #8, PKCS #1 or SEC 1 */
  keyFile: string
  /** A file whose one line decrypts `keyFile`. Default: the key is not encrypted */
  keyPassphraseFile?: string | undefined
  /** The certificates between that of `certificateFile` and the trust anchor. Default: those in `certificateFile` */
  intermediatesFile?: string | undefined
  /** The trust anchor that stands for the issuer of the certificate */
  trustAnchorArn: string
  /** The profile in IAM Roles Anywhere that allows the role; in the region of the trust anchor */
  profileArn: string
  /** The IAM role to get credentials for */
  roleArn: string
  /** Milliseconds that the credentials are valid. The profile and the role may allow less. Default: 3,600,000 */
  duration?: number | undefined
  /** The name of the role session. AWS refuses it unless the profile accepts one. Default: the certificate's serial number */
  sessionName?: string | undefined
  /** The HTTPS address to call, for example of a VPC endpoint. Default: that of the trust anchor's region */
  endpoint?: string | undefined
}

export const ROLES_ANYWHERE_REQUIRED = [
  'certificateFile',
  'keyFile',
  'trustAnchorArn',
  'profileArn',
  'roleArn',
] as const

/** For the message about a missing one. */
export const ROLES_ANYWHERE_NEEDS = 'IAM Roles Anywhere needs it'

/** What is wrong with the options; `names` knows them as 'rolesAnywhere.certificateFile' and so on. */
export function rolesAnywhereProblems(
  { profile, rolesAnywhere }: { profile?: string | undefined; rolesAnywhere?: RolesAnywhereOptions | undefined },
  names: OptionNames,
): string[] {
  if (!rolesAnywhere) return []
  const problems: string[] = []
  const place = (option: keyof RolesAnywhereOptions) => names.place(`rolesAnywhere.${option}`)
  for (const option of ROLES_ANYWHERE_REQUIRED) {
    if (!rolesAnywhere[option]) problems.push(`${place(option)} is missing; ${ROLES_ANYWHERE_NEEDS}`)
  }
  function check(option: keyof RolesAnywhereOptions, problemOf: (value: string) => string | undefined): void {
    const value = rolesAnywhere?.[option]
    const problem = typeof value === 'string' && value !== '' ? problemOf(value) : undefined
    if (problem) problems.push(`${place(option)}: ${problem}`)
  }
  check('trustAnchorArn', trustAnchorProblem)
  check('profileArn', rolesAnywhereProfileProblem)
  check('roleArn', roleProblem)
  check('endpoint', httpsProblem)
  check('sessionName', sessionNameProblem)
  const { duration } = rolesAnywhere
  const outside = duration === undefined ? undefined : rangeProblem(duration, OPTION_VALUES.rolesAnywhereDuration)
  if (outside) problems.push(`${place('duration')}: ${outside}`)
  if (problems.length > 0) return problems
  if (profile !== undefined) {
    problems.push(
      `${names.place('profile')}: contradicts ${names.name('rolesAnywhere.certificateFile')}; use one of them`,
    )
  }
  const [anchor, own] = [regionOfArn(rolesAnywhere.trustAnchorArn), regionOfArn(rolesAnywhere.profileArn)]
  if (anchor !== own) {
    const other = names.name('rolesAnywhere.trustAnchorArn')
    problems.push(`${place('profileArn')}: its region ${own} is not that of ${other}, ${anchor}`)
  }
  return problems
}

export function regionOfArn(arn: string): string {
  return arn.split(':')[3]!
}

/** The DNS suffix of each partition that does not have that of most. */
const DNS_SUFFIXES: Readonly<Record<string, string>> = {
  'aws-cn': 'amazonaws.com.cn',
  'aws-eusc': 'amazonaws.eu',
  'aws-iso': 'c2s.ic.gov',
  'aws-iso-b': 'sc2s.sgov.gov',
  'aws-iso-e': 'cloud.adc-e.uk',
  'aws-iso-f': 'csp.hci.ic.gov',
}

/** https://docs.aws.amazon.com/general/latest/gr/rolesanywhere.html */
export function endpointOf({ endpoint, trustAnchorArn }: RolesAnywhereOptions): URL {
  const [, partition = ''] = trustAnchorArn.split(':')
  const suffix = DNS_SUFFIXES[partition] ?? 'amazonaws.com'
  return new URL(endpoint ?? `https://rolesanywhere.${regionOfArn(trustAnchorArn)}.${suffix}`)
}
