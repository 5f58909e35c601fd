/** The JSON schema of a configuration file, for editors, made from the table of options. https://json-schema.org/draft/2020-12 */
import { LOCAL_USER_KEYS, mayBeInFile, SYNC_KEYS } from './keys.ts'
import { type OptionName, optionNames, optionSpec } from './options.ts'

const DURATION_PATTERN = '^\\d+(\\.\\d+)?(us|ms|s|m|h)$'

export function configSchema(): object {
  const inFile = optionNames.filter(mayBeInFile)
  const perEndpoint = inFile.filter(name => !optionSpec(name).perProcess)
  const localUsers = {
    type: 'array',
    items: { $ref: '#/$defs/localUser' },
    description: 'The users that clients log in as here',
  }
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
          name: { type: 'string', description: 'The name in logs, metrics and on the status page' },
          ...propertiesOf(perEndpoint),
          'local-users': localUsers,
          sync: {
            type: 'object',
            additionalProperties: false,
            required: ['target-group-arn'],
            properties: propertiesOf(SYNC_KEYS),
            description: 'Keeps NLB targets in sync with this endpoint, as mysql-iam-proxy sync-targets --watch does',
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
  const { kind, choices, min, max, default: standard, describe } = optionSpec(name)
  const common = { description: describe, ...(standard === undefined ? {} : { default: standard }) }
  switch (kind) {
    case 'boolean':
      return { ...common, type: 'boolean' }
    case 'strings':
      return { ...common, anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] }
    case 'duration':
      return { ...common, type: 'string', pattern: DURATION_PATTERN }
    case 'integer':
      return {
        ...common,
        type: 'integer',
        minimum: min ?? 0,
        ...(max === undefined ? {} : { maximum: max }),
        ...(standard === undefined ? {} : { default: Number(standard) }),
      }
    case 'string':
      return { ...common, type: 'string', ...(choices ? { enum: choices } : {}) }
  }
}
