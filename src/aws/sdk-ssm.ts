/**
 * The calls of Systems Manager that this program makes. The SDK has many more, and an import of its package would
 * bundle them all.
 */
export {
  ResumeSessionCommand,
  SSMClient,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm'
