/** Options of sync-targets. */
import { OPTION_VALUES } from '../../option-values.ts'
import { addressProblem, resolverProblem, targetGroupProblem } from '../../value-checks.ts'
import { duration, integer, type OptionSpec } from '../option-spec.ts'

const SYNC = ['sync-targets'] as const

export const SYNC_TARGETS = {
  'target-group-arn': {
    kind: 'string',
    commands: SYNC,
    placeholder: 'ARN',
    check: targetGroupProblem,
    describe:
      'The target group, of type ip, that follows --rds-endpoint. All its targets on that port are managed, except those of --keep-target',
  },
  resolver: {
    kind: 'strings',
    commands: SYNC,
    placeholder: 'ADDRESS[:PORT]',
    separator: ',',
    check: resolverProblem,
    describe:
      'A name server to ask instead of those of this machine; may be repeated, and then all servers must give the same answer',
  },
  'collect-answers': {
    kind: 'string',
    ...OPTION_VALUES.collectAnswers,
    commands: SYNC,
    describe:
      'Collect addresses over many DNS lookups, for endpoints that return one instance per answer. auto does so for reader, custom and RDS Proxy endpoints',
  },
  confirmations: {
    ...integer(OPTION_VALUES.confirmations),
    commands: SYNC,
    describe:
      'Lookups in a row that must agree before a target is removed, 5 s or the time to live apart. Names flap for 20 to 30 s in a failover',
  },
  'keep-target': {
    kind: 'strings',
    commands: SYNC,
    placeholder: 'ADDRESS',
    separator: ',',
    check: addressProblem,
    describe: 'The address of a target that is never removed; may be repeated',
  },
  verify: {
    kind: 'boolean',
    commands: SYNC,
    describe:
      'Register a new address only after it has presented the certificate of --rds-endpoint; needs a network path from here to the database',
  },
  'health-timeout': {
    ...duration(OPTION_VALUES.healthTimeout),
    commands: SYNC,
    describe: 'Time for new targets to become healthy; the old targets stay until then',
  },
  'dry-run': {
    kind: 'boolean',
    commands: [...SYNC, 'service'],
    describe:
      'Print what would change, and change nothing: sync-targets after one lookup, service the files and commands of install and uninstall',
  },
  watch: { kind: 'boolean', commands: SYNC, describe: 'Run until stopped, with one pass every --interval' },
  interval: {
    ...duration(OPTION_VALUES.interval),
    commands: SYNC,
    describe: 'Time between two passes of --watch, plus or minus 10 %',
  },
} as const satisfies Record<string, OptionSpec>
