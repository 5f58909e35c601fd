/** The JSON schema of a configuration file, for editors; made from the table of options. https://json-schema.org/draft/2020-12 */
import { LOCAL_USER_KEYS, mayBeInFile, SYNC_KEYS } from './keys.ts'
import { type OptionName, optionNames, optionSpec } from './options.ts'

const DURATION = '^\\d+(\\.\\d+)?(us|ms|s|m|h)$'

export function configSchema(): object {
  const inFile = optionNames.filter(mayBeInFile)
  const perEndpoint = inFile.filter(name => !optionSpec(name).perProcess)
  const localUsers = { type: 'array', items: { $ref: '#/$defs/localUser' }, description: 'Who may log in here' }
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'The configuration of mysql-iam-proxy',
    type: 'object',
    additionalProperties: false,
    properties: {
      ...propertiesOf(inFile),
      'local-users': localUsers,
      endpoints: { type: 'array', items: { $ref: '#/$defs/endpoint' }, description: 'The databases to serve' },
    },
    $defs: {
      endpoint: {
        type: 'object',
        additionalProperties: false,
        properties: {
          name: { type: 'string', description: 'What logs, metrics and the status page call it' },
          ...propertiesOf(perEndpoint),
          'local-users': localUsers,
          sync: {
            type: 'object',
            additionalProperties: false,
            required: ['target-group-arn'],
            properties: propertiesOf(SYNC_KEYS),
            description:
              'Lets the targets of an NLB follow this endpoint, as mysql-iam-proxy sync-targets --watch does',
          },
        },
      },
      localUser: {
        type: 'object',
        additionalProperties: false,
        required: ['name'],
        properties: Object.fromEntries(
          Object.entries(LOCAL_USER_KEYS).map(([key, description]) => [key, { type: 'string', description }]),
        ),
      },
    },
  }
}

function propertiesOf(names: readonly OptionName[]): Record<string, object> {
  return Object.fromEntries(names.map(name => [name, propertyOf(name)]))
}

function propertyOf(name: OptionName): object {
  const { kind, choices, default: standard, describe } = optionSpec(name)
  const common = { description: describe, ...(standard === undefined ? {} : { default: standard }) }
  switch (kind) {
    case 'switch':
      return { ...common, type: 'boolean' }
    case 'texts':
      return { ...common, anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] }
    case 'duration':
      return { ...common, type: 'string', pattern: DURATION }
    case 'count':
      return {
        ...common,
        type: 'integer',
        minimum: 0,
        ...(standard === undefined ? {} : { default: Number(standard) }),
      }
    case 'text':
      return { ...common, type: 'string', ...(choices ? { enum: choices } : {}) }
  }
}
