/** IAM Roles Anywhere. */
import { OPTION_VALUES } from '../../option-values.ts'
import {
  httpsProblem,
  roleProblem,
  rolesAnywhereProfileProblem,
  sessionNameProblem,
  trustAnchorProblem,
} from '../../value-checks.ts'
import { AND_SYNC, duration, type OptionSpec } from '../option-spec.ts'

export const CREDENTIALS = {
  'roles-anywhere-certificate': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'The certificate (PEM) of this host for IAM Roles Anywhere, instead of --profile. The files are read again for each request, so a rotated certificate needs no restart',
  },
  'roles-anywhere-key': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe: 'The private key of --roles-anywhere-certificate (PEM, RSA or EC)',
  },
  'roles-anywhere-key-passphrase-file': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe: 'A file whose one line decrypts --roles-anywhere-key (default: the key is not encrypted)',
  },
  'roles-anywhere-intermediates': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'FILE',
    describe:
      'The certificates (PEM) between --roles-anywhere-certificate and the trust anchor, if they are not in the same file',
  },
  'roles-anywhere-trust-anchor': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: trustAnchorProblem,
    describe: 'The trust anchor in IAM Roles Anywhere that stands for the issuer of the certificate',
  },
  'roles-anywhere-profile': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: rolesAnywhereProfileProblem,
    describe: 'The profile in IAM Roles Anywhere that allows the role; in the region of the trust anchor',
  },
  'roles-anywhere-role': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'ARN',
    check: roleProblem,
    describe: 'The IAM role to get credentials for',
  },
  'roles-anywhere-duration': {
    ...duration(OPTION_VALUES.rolesAnywhereDuration),
    commands: AND_SYNC,
    describe:
      'How long the credentials of IAM Roles Anywhere are valid. The lower limit of its profile counts, and more than 1h needs a role that allows it',
  },
  'roles-anywhere-session-name': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'NAME',
    check: sessionNameProblem,
    describe:
      'The name of the role session. AWS refuses it unless the profile accepts session names (default: the serial number of the certificate)',
  },
  'roles-anywhere-endpoint': {
    kind: 'string',
    commands: AND_SYNC,
    placeholder: 'URL',
    check: httpsProblem,
    describe:
      'The HTTPS address of IAM Roles Anywhere, for example of a VPC endpoint or the FIPS endpoint (default: that of the trust anchor)',
  },
} as const satisfies Record<string, OptionSpec>
