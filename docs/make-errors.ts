/** Prints docs/errors.md, made from the tables of errors: npm run docs */
import { ERRORS, type ErrorCode, SERVER_ERRORS } from '../src/error-codes.ts'

/** The whole text of docs/errors.md. */
export function errorsPage(): string {
  return `# Errors

Made from the tables in \`src/errors.ts\` by \`npm run docs\`; do not edit by hand. \`mysql-iam-proxy explain CODE\` says the same on a terminal, \`mysql-iam-proxy check\` finds out which it is and fills in the values.

\`{rds}\`, \`{dial}\`, \`{region}\` and \`{user}\` stand for the endpoint's own values. ERR is the number that a MySQL client shows.

## What the database says

These reach the client in the server's own words, with what to do behind them.

${Object.entries(SERVER_ERRORS)
  .map(([errno, { name, hint, explanation, docs }]) => section(`${errno}: ${name}`, [], explanation, hint, docs))
  .join('\n\n')}

## What mysql-iam-proxy says

${(Object.keys(ERRORS) as ErrorCode[])
  .map(code => {
    const { errno, sqlState, level, exitCode, hint, explanation, docs } = ERRORS[code]
    const numbers = `ERR ${errno} (${sqlState}), log level ${level}, exit code ${exitCode}.`
    return section(code, [numbers], explanation, hint, docs)
  })
  .join('\n\n')}
`
}

function section(title: string, more: string[], explanation: string, hint: string, docs: string): string {
  const link = docs.startsWith('https:')
    ? docs
    : `[${docs}](${docs.startsWith('docs/') ? docs.slice(5) : `../${docs}`})`
  const paragraphs = [
    `### ${title}`,
    explanation,
    ...(hint ? [`**What to do:** ${hint}`] : []),
    ...more,
    `More: ${link}`,
  ]
  return paragraphs.join('\n\n')
}

if (import.meta.filename === process.argv[1]) process.stdout.write(errorsPage())
