/** Prints docs/reference.md, made from the tables of options and errors: npm run docs */

import { environmentName, OPTION_GROUPS, type OptionName, optionSpec } from '../src/config/options.ts'
import { ERRORS } from '../src/error-codes.ts'

/** The whole text of docs/reference.md. */
export function reference(): string {
  return `# Reference

Generated from \`src/config/options/\` and \`src/error-codes.ts\` by \`npm run docs\`; do not edit.

    mysql-iam-proxy --rds-endpoint HOST[:PORT] [options]
    mysql-iam-proxy HOST[:PORT][?OPTION=VALUE&…] …
    mysql-iam-proxy --config FILE
    mysql-iam-proxy COMMAND --help

A flag overrides its environment variable, the environment variable overrides the configuration file, and the file overrides the default. If you give a flag more than once, the last value counts. Options that take several values keep all of them.

## Options

${OPTION_GROUPS.map(({ title, options }) => `### ${title}\n\n${options.map(option).join('\n\n')}`).join('\n\n')}

## Exit codes

| exit code | errors that end the process |
| --- | --- |
| 0 | the command did its work; \`sync-targets\`: the targets were correct and healthy |
${exitCodes()}
| 10 | no error: \`sync-targets\` has changed the targets |
| 130, 143 | stopped by SIGINT or SIGTERM |

## Errors

A client gets \`mysql-iam-proxy: WHAT HAPPENED. WHAT TO DO\`. The values of the endpoint replace \`{rds}\`, \`{dial}\`, \`{region}\` and \`{user}\`. If the server itself refuses a login, the client gets the server's error number and text, followed by a hint if there is one. The log line of an error has its code. The source says where to look for the cause. [errors.md](errors.md) explains each error.

| code | ERR | SQLSTATE | source | log level | what to do |
| --- | --- | --- | --- | --- | --- |
${Object.entries(ERRORS)
  .map(([code, e]) => `| ${code} | ${e.errno} | ${e.sqlState} | ${e.source} | ${e.level} | ${cell(e.hint)} |`)
  .join('\n')}
`
}

function option(name: OptionName): string {
  const {
    kind,
    placeholder,
    choices,
    separator,
    default: standard,
    environmentOnly,
    flagOnly,
    short,
    commands,
    describe,
  } = optionSpec(name)
  const value = placeholder ?? choices?.join('|')
  const title = environmentOnly
    ? environmentName(name)
    : `${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`
  const lines = [`#### \`${title}\``, '', `${describe}.`, '']
  if (environmentOnly) lines.push('Only as an environment variable, because other users can see the command line.')
  else if (flagOnly) lines.push('Only as a flag.')
  else
    lines.push(
      `Environment: \`${environmentName(name)}\`${kind === 'strings' ? `, several values separated by ${separator === undefined ? '`:`, on Windows by `;`' : `\`${separator}\``}` : ''}.`,
    )
  if (commands && !commands.includes('run')) lines.push(`Only for: \`${commands.join('`, `')}\`.`)
  if (standard !== undefined) lines.push(`Default: \`${standard}\`.`)
  return lines.join('\n')
}

function exitCodes(): string {
  const codes = Object.entries(ERRORS)
  return [...new Set(codes.map(([, { exitCode }]) => exitCode))]
    .sort((left, right) => left - right)
    .map(exitCode => {
      const errors = codes.filter(([, e]) => e.exitCode === exitCode).map(([code]) => code)
      return `| ${exitCode} | ${errors.join(', ')} |`
    })
    .join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

if (import.meta.filename === process.argv[1]) process.stdout.write(reference())
