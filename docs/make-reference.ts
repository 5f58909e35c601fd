/** Prints docs/reference.md, made from the tables of options and errors: npm run docs */

import { environmentName, type OptionName, optionNames, optionSpec } from '../src/config/options.ts'
import { ERRORS } from '../src/error-codes.ts'

/** The whole text of docs/reference.md. */
export function reference(): string {
  return `# Reference

Made from the tables in \`src/config/options.ts\` and \`src/error-codes.ts\` by \`npm run docs\`; do not edit by hand.

    mysql-iam-proxy --rds-endpoint HOST[:PORT] [options]
    mysql-iam-proxy HOST[:PORT][?OPTION=VALUE&…] …
    mysql-iam-proxy --config FILE
    mysql-iam-proxy COMMAND --help

A flag wins over its environment variable, which wins over the configuration file, which wins over the default. A flag that is given more than once counts with its last value, but for those of which more than one may be given.

## Options

${optionNames.map(option).join('\n\n')}

## Exit codes

| exit code | errors that end the process |
| --- | --- |
| 0 | the command did its work; \`sync-targets\`: nothing was to be changed |
${exitCodes()}
| 10 | no error: \`sync-targets\` has changed the targets |
| 130, 143 | ended by SIGINT, SIGTERM |

## Errors

What a client is told is \`mysql-iam-proxy: WHAT HAPPENED. WHAT TO DO\`, with the values of the endpoint in place of \`{rds}\`, \`{dial}\`, \`{region}\` and \`{user}\`. Where the server itself refuses, its own error code and text reach the client, with a hint behind them where there is one. The log line of each has its code. What each means, and where more is written: [errors.md](errors.md).

| code | ERR | SQLSTATE | log level | what to do |
| --- | --- | --- | --- | --- |
${Object.entries(ERRORS)
  .map(([code, e]) => `| ${code} | ${e.errno} | ${e.sqlState} | ${e.level} | ${cell(e.hint)} |`)
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
    commands,
    describe,
  } = optionSpec(name)
  const value = placeholder ?? choices?.join('|')
  const title = environmentOnly ? environmentName(name) : `--${name}${value ? ` ${value}` : ''}`
  const lines = [`### \`${title}\``, '', `${describe}.`, '']
  if (environmentOnly) lines.push('Environment alone: others see the command line.')
  else
    lines.push(
      `Environment: \`${environmentName(name)}\`${kind === 'strings' ? `, several separated by \`${separator ?? ':'}\`` : ''}.`,
    )
  if (commands && !commands.includes('run')) lines.push(`Of: \`${commands.join('`, `')}\`.`)
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
