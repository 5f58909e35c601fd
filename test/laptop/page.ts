/** docs/laptop-run.md, made of a run. */
import { keystrokesIn, type LaptopRun, type Typed } from './laptop-run.ts'

/** The part that other versions of the client change. */
export const CLIENT_HEADING = '## In the second terminal'

export interface Counts {
  lines: number
  keystrokes: number
}

/** Of the whole run, of the run without what `add` does too, and of a later day: the line that starts the proxy. */
export function countsOf({ typed }: LaptopRun): { run: Counts; shortest: Counts; laterDay: Counts } {
  const [first, second] = typed
  const all = [...first, ...second]
  const needed = all.filter(({ text }) => !/^mysql-iam-proxy (login|list)\b/.test(text))
  return { run: count(all), shortest: count(needed), laterDay: count(first.slice(-1)) }
}

function count(typed: readonly Typed[]): Counts {
  return { lines: typed.filter(({ isLine }) => isLine).length, keystrokes: keystrokesIn(typed) }
}

export function pageOf(run: LaptopRun): string {
  const { typed, screens } = run
  const { run: all, shortest, laterDay } = countsOf(run)
  const rows = stepsOf(typed.flat()).map(step => `| ${describe(step)} | ${count(step).keystrokes} |`)
  return `# A recorded run, from nothing to a query

<!-- npm run laptop-demo writes this page -->

A home directory with nothing in it but the profile that \`aws configure sso\` writes, one private database behind a Network Load Balancer, and two terminals: **${all.lines} lines and ${all.keystrokes} keystrokes** to the first query. On a later day the proxy starts with ${laterDay.lines} line, ${laterDay.keystrokes} keystrokes. When the sign-in has expired by then, the first client that connects starts it.

| you type | keystrokes |
| --- | --- |
${rows.join('\n')}
| **${all.lines} lines** | **${all.keystrokes}** |

A character, Enter, Space or an arrow is one keystroke. The browser visit is not counted. Neither \`login\` nor \`list\` is needed: on a terminal, \`add\` signs in by itself, and it lists the same databases. Without them it is ${shortest.lines} lines and ${shortest.keystrokes} keystrokes.

\`npm run laptop-demo\` records the run again. It presses these keys in two shells on real pseudo-terminals, and runs the program itself. The rest is a stand-in from this repository: IAM Identity Center with a browser that agrees at once, the AWS APIs, DNS, and a real MariaDB that verifies the IAM token. The variables \`AWS_ENDPOINT_URL_…\` lead to the stand-ins, and \`MYSQL_IAM_PROXY_CA\` trusts the database's certificate. That is why \`ca\` is in the file below. \`npm test\` runs all of it too, and compares everything with this page but what the client shows. Folders, times, random values and the load balancer's port are replaced by fixed ones.

## In the first terminal

\`\`\`text
${screens[0]}
\`\`\`

${CLIENT_HEADING}

\`\`\`text
${screens[1]}
\`\`\`
`
}

/** A line, and the answers to the questions that follow it. */
function stepsOf(typed: readonly Typed[]): Typed[][] {
  const steps: Typed[][] = []
  for (const each of typed) {
    if (each.isLine) steps.push([each])
    else steps.at(-1)!.push(each)
  }
  return steps
}

function describe([line, ...answers]: Typed[]): string {
  const words = answers.map(({ text, keys }) => [...(text === '' ? [] : [`\`${text}\``]), ...keys].join(' '))
  return [`\`${line!.text}\``, ...(words.length === 0 ? [] : [`answers: ${words.join(', ')}`])].join('; ')
}
