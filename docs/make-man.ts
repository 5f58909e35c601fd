/** Prints docs/mysql-iam-proxy.1, made from the tables of commands, options and errors: npm run docs */
import { COMMANDS } from '../src/commands/table.ts'
import type { Command } from '../src/config/option-spec.ts'
import { environmentName, OPTION_GROUPS, type OptionName, optionNames, optionSpec } from '../src/config/options.ts'
import { ERRORS } from '../src/error-codes.ts'

const PROGRAM = 'mysql-iam-proxy'

/** The manual page in the macros of man(7), as ASCII. https://man7.org/linux/man-pages/man7/man.7.html */
export function manPage(): string {
  const commands = Object.keys(COMMANDS) as Command[]
  return `.\\" Generated from src/commands/table.ts, src/config/options/ and src/error-codes.ts by npm run docs; do not edit.
.TH MYSQL-IAM-PROXY 1 "" "${PROGRAM}" "User Commands"
.nh
.ad l
.SH NAME
${PROGRAM} \\- log in to Amazon RDS and Aurora with AWS IAM from any MySQL client
.SH SYNOPSIS
${commands.map(synopsis).join('\n.br\n')}
.SH DESCRIPTION
${paragraphs(
  `${PROGRAM} listens on this machine and speaks the MySQL protocol. A client connects to it as to any MySQL server, with any password or none. The proxy logs in to the database with a fresh IAM token, and then passes bytes on in both directions.`,
  'The proxy sends a token only inside TLS, and only to a server whose certificate names the RDS endpoint. If something fails, the client gets a MySQL error that says what happened and what to do.',
  'An ENDPOINT is the name of a database host, or the name of an endpoint in the configuration file. Its own options may follow a question mark, as in a URL.',
)}
.SH COMMANDS
Without a command, the program serves databases.
${commands
  .filter(command => command !== 'run')
  .map(command => item(bold(command), `${COMMANDS[command].describe}.`))
  .join('\n')}
.SH OPTIONS
${paragraphs(
  'A flag overrides its environment variable, the environment variable overrides the configuration file, and the file overrides the default. If you give a flag more than once, the last value counts. Options that take several values keep all of them.',
)}
${OPTION_GROUPS.map(({ title, options }) => `.SS ${text(title)}\n${flagsOf(options).map(option).join('\n')}`).join('\n')}
.SS For each command
${item(`${bold('-h')}, ${bold('--help')}`, 'Show the help of the program or of a command.')}
${item(`${bold('-V')}, ${bold('--version')}`, 'Show the version.')}
.SH ENVIRONMENT
${paragraphs(
  `Each option is also an environment variable: its name in capitals, with underscores, after MYSQL_IAM_PROXY_. For example, ${environmentName('rds-endpoint')} stands for --rds-endpoint. Several values in one variable are separated by a colon, unless the option names another character.`,
  'The variables of the AWS SDKs count too, such as AWS_PROFILE, AWS_REGION and AWS_CONFIG_FILE.',
)}
${optionNames
  .filter(name => optionSpec(name).environmentOnly)
  .map(name => item(bold(environmentName(name)), `${optionSpec(name).describe}.`))
  .join('\n')}
.SH FILES
${item(italic('/etc/mysql-iam-proxy/config.yaml'), 'The configuration of the system service in the Debian and RPM packages.')}
${item(italic('~/.config/mysql-iam-proxy/config.yaml'), 'The default configuration file of a user: databases that are served if the command line and the environment name none.')}
${item(italic('~/.aws/config'), 'Profiles of AWS.')}
.SH SIGNALS
${item(bold('SIGHUP'), 'Read the configuration file again. Sessions continue.')}
${item(`${bold('SIGTERM')}, ${bold('SIGINT')}`, 'Stop. Sessions outside a transaction end at once, and the others have --max-sigterm-delay. A second signal ends the process at once.')}
.SH EXIT STATUS
${item('0', 'The command did its work.')}
${exitCodes()}
${item('130, 143', 'Stopped by SIGINT or SIGTERM.')}
.PP
exec exits as its command does.
.SH EXAMPLES
${commands.map(examples).join('\n')}
.SH SEE ALSO
.BR mysql (1),
.BR mariadb (1),
.BR systemctl (1)
.PP
mysql\\-iam\\-proxy docs prints the documents: configuration, errors, log, metrics.
`
}

function synopsis(command: Command): string {
  const { usage = '' } = COMMANDS[command]
  const name = command === 'run' ? PROGRAM : `${PROGRAM} ${command}`
  return `${bold(name)} ${text(usage.includes('[options]') ? usage : `[options] ${usage}`.trim())}`
}

function flagsOf(options: readonly OptionName[]): OptionName[] {
  return options.filter(name => !optionSpec(name).environmentOnly)
}

function option(name: OptionName): string {
  const { short, placeholder, choices, default: standard, commands, separator, kind, describe } = optionSpec(name)
  const value = placeholder ?? choices?.join('|')
  const flags = [...(short ? [`-${short}`] : []), `--${name}`].map(bold).join(', ')
  const notes = [
    `${describe}.`,
    ...(commands && !commands.includes('run') ? [`Only for: ${commands.join(', ')}.`] : []),
    ...(kind === 'strings' && separator ? [`In the environment, '${separator}' separates several values.`] : []),
    ...(standard === undefined ? [] : [`Default: ${standard}.`]),
  ]
  // A list of choices may break after each bar.
  return item(value ? `${flags} ${italic(value).replaceAll('|', '|\\:')}` : flags, notes.join(' '))
}

function examples(command: Command): string {
  const lines = COMMANDS[command].examples.map(([line, does]) => {
    return `${text(does)}:\n.PP\n.RS 4\n.EX\n${text(line)}\n.EE\n.RE`
  })
  return `.SS ${text(command === 'run' ? PROGRAM : command)}\n${lines.join('\n.PP\n')}`
}

function exitCodes(): string {
  const codes = Object.entries(ERRORS)
  return [...new Set(codes.map(([, { exitCode }]) => exitCode))]
    .map(number => {
      const names = codes.filter(([, { exitCode }]) => exitCode === number).map(([code]) => code)
      return [number, `${names.join(', ')}.`] as const
    })
    .concat([[10, 'No error: sync-targets has changed the targets.']])
    .sort(([left], [right]) => left - right)
    .map(([number, meaning]) => item(String(number), meaning))
    .join('\n')
}

/** @param tag already marked up */
function item(tag: string, describe: string): string {
  return `.TP\n${tag}\n${text(describe)}`
}

function paragraphs(...all: readonly string[]): string {
  return all.map(text).join('\n.PP\n')
}

function bold(word: string): string {
  return `\\fB${text(word)}\\fR`
}

function italic(word: string): string {
  return `\\fI${text(word)}\\fR`
}

/** What roff would read as a command, or set as a typographic quote or hyphen, which could not be copied. */
const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '"': '\\(dq',
  '^': '\\(ha',
  '~': '\\(ti',
}

function text(plain: string): string {
  const escaped = plain
    .replace(/[\\'`"^~-]/g, character => ESCAPES[character]!)
    .replace(/[^\n -~]/g, character => `\\[u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`)
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped
}

if (import.meta.filename === process.argv[1]) process.stdout.write(manPage())
