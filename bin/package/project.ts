/** What packages say about the project, from the environment of a release. */
import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const NAME = 'mysql-iam-proxy'
export const SUMMARY = 'MySQL proxy that logs in to Amazon RDS with AWS IAM'
export const DESCRIPTION = `Any MySQL client connects to it on localhost, with any password or none.
The proxy logs in to RDS for MySQL, RDS for MariaDB or Aurora MySQL with a
fresh IAM token, also through a Network Load Balancer, and then passes bytes
on in both directions. It sends a token only inside verified TLS.`

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** GitHub's workflows set GITHUB_REPOSITORY. Elsewhere the address is an example. */
export function homepage({ GITHUB_SERVER_URL, GITHUB_REPOSITORY }: NodeJS.ProcessEnv = process.env): string {
  return `${GITHUB_SERVER_URL ?? 'https://github.com'}/${GITHUB_REPOSITORY ?? 'example/mysql-iam-proxy'}`
}

/** With an address that takes no mail: reports go to the homepage. */
export function maintainer({ GITHUB_REPOSITORY_OWNER }: NodeJS.ProcessEnv = process.env): string {
  return `The mysql-iam-proxy authors <${GITHUB_REPOSITORY_OWNER ?? 'example'}@users.noreply.github.com>`
}

/** Where the files of a release are published. */
export function downloadUrl(version: string, file: string): string {
  return `${homepage()}/releases/download/v${version}/${file}`
}

/**
 * The time that packages give to their files, so that two builds of a commit are equal: SOURCE_DATE_EPOCH, or that of the
 * commit. https://reproducible-builds.org/docs/source-date-epoch/
 */
export function sourceDate({ SOURCE_DATE_EPOCH }: NodeJS.ProcessEnv = process.env): Date {
  if (SOURCE_DATE_EPOCH) return new Date(Number(SOURCE_DATE_EPOCH) * 1_000)
  try {
    const seconds = execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' })
    return new Date(Number(seconds) * 1_000)
  } catch {
    return new Date(Math.floor(statSync(`${ROOT}/package.json`).mtimeMs / 1_000) * 1_000)
  }
}
