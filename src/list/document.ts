/** The JSON document of `list`, and the next command for a database. docs/list.md documents its fields. */
import { shellWord } from '../shell-quote.ts'
import type { Found, FoundDatabase, FoundEndpoint, Scope } from './found.ts'

/** The command that adds the endpoint to the configuration file. @param withRegion unless it is that of the profile */
export function nextCommand({ profile, region }: Scope, { name }: Pick<FoundEndpoint, 'name'>, withRegion: boolean) {
  const ofProfile = profile === undefined ? '' : ` --profile ${shellWord(profile)}`
  const ofRegion = withRegion ? ` --region ${region}` : ''
  return `mysql-iam-proxy add ${shellWord(name)}${ofProfile}${ofRegion}`
}

/** What is unknown has no field. */
export function toDocument({ databases, problems, complete, rejectedRegions }: Found): object {
  return { complete, databases: databases.map(withCommands), problems, rejectedRegions }
}

function withCommands(database: FoundDatabase): object {
  const { endpoints, ...facts } = database
  return {
    ...facts,
    endpoints: endpoints.map(endpoint => ({ ...endpoint, next: nextCommand(database, endpoint, true) })),
  }
}
