/** Prints docs/errors.md, made from the tables of errors: npm run docs */
import { CLIENT_ERRORS, ERRORS, type ErrorCode, SERVER_ERRORS } from '../src/error-codes.ts'

/** The whole text of docs/errors.md. */
export function errorsPage(): string {
  return `# Errors

Generated from \`src/error-codes.ts\` by \`npm run docs\`; do not edit. \`mysql-iam-proxy explain CODE\` prints the same on a terminal. \`mysql-iam-proxy check\` finds the error that you have and fills in the values.

\`{rds}\`, \`{dial}\`, \`{region}\` and \`{user}\` stand for the values of the endpoint. ERROR is the number that a MySQL client shows, with the SQLSTATE behind it. The source says where to look for the cause: the client, the proxy, the database, the network, AWS or the configuration. [Why these numbers](decisions/0100-error-numbers.md).

## Errors of the database

These reach the client in the server's own words, followed by what to do.

${Object.entries(SERVER_ERRORS)
  .map(([errno, { name, hint, explanation, docs }]) => section(`${errno}: ${name}`, [], explanation, hint, docs))
  .join('\n\n')}

## Errors of mysql-iam-proxy

${(Object.keys(ERRORS) as ErrorCode[])
  .map(code => {
    const { errno, sqlState, source, level, exitCode, hint, explanation, docs } = ERRORS[code]
    const numbers = `ERROR ${errno} (${sqlState}), source: ${source}, log level: ${level}, exit code: ${exitCode}.`
    return section(code, [numbers], explanation, hint, docs)
  })
  .join('\n\n')}

## Errors of the client

The client makes these itself. They are about its connection to the proxy, and the proxy never sends them.

${Object.entries(CLIENT_ERRORS)
  .map(([errno, { name, hint, explanation, docs }]) => section(`${errno}: ${name}`, [], explanation, hint, docs))
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
