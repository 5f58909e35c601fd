/** The agent of launchd. https://keith.github.io/xcode-man-pages/launchd.plist.5.html */
import {
  RESTART_SECONDS,
  SERVICE_NAME,
  type ServiceContext,
  type ServicePlan,
  SHOWN_LINES,
  WRITTEN_BY,
  xml,
} from './service-plan.ts'

/** launchd's own PATH has no Homebrew, so a credential_process or a tunnel would not be found. */
const PATH = '/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin'

/** launchd ends an agent some time after bootout has returned, and bootstrap fails until then. */
const BOOTSTRAP_RETRY_MS = 30_000

/** An agent of the user: it starts when the user logs in. */
export function launchdPlan(context: ServiceContext): ServicePlan {
  const { home, user } = context
  const path = `${home.home}/Library/LaunchAgents/${SERVICE_NAME}.plist`
  const log = `${home.home}/Library/Logs/${SERVICE_NAME}.log`
  const domain = `gui/${user.uid}`
  const agent = `${domain}/${SERVICE_NAME}`
  const bootout = { words: ['launchctl', 'bootout', agent], mayFail: true }
  return {
    name: `the launchd agent ${SERVICE_NAME}`,
    files: [{ path, text: plist(context, log), mode: 0o600, encoding: 'utf8' }],
    writes: [log],
    start: [
      bootout, // of an earlier install
      { words: ['launchctl', 'enable', agent] },
      { words: ['launchctl', 'bootstrap', domain, path], retryMs: BOOTSTRAP_RETRY_MS },
    ],
    stop: [bootout],
    forget: [],
    killsOnly: false,
    status: ['launchctl', 'print', agent],
    logs: follow => ['tail', '-n', String(SHOWN_LINES), ...(follow ? ['-F'] : []), log],
    notes: [`It starts when you log in. Its log is ${log}; launchd does not limit its size.`],
  }
}

function plist({ program, config, drainMs, environment }: ServiceContext, log: string): string {
  const words = [...program, '--config', config, '--log-format', 'json']
  const variables = Object.entries({ PATH, ...environment })
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ${WRITTEN_BY} -->
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>${SERVICE_NAME}</string>

	<key>ProgramArguments</key>
	<array>
${words.map(word => `\t\t<string>${xml(word)}</string>`).join('\n')}
	</array>

	<key>EnvironmentVariables</key>
	<dict>
${variables.map(([name, value]) => `\t\t<key>${xml(name)}</key>\n\t\t<string>${xml(value)}</string>`).join('\n')}
	</dict>

	<key>RunAtLoad</key>
	<true/>
	<!-- A stop exits with 0, and is not followed by a start. -->
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<!-- seconds between two starts -->
	<key>ThrottleInterval</key>
	<integer>${RESTART_SECONDS * 2}</integer>
	<!-- seconds from SIGTERM to SIGKILL: longer than max-sigterm-delay -->
	<key>ExitTimeOut</key>
	<integer>${Math.ceil(drainMs / 1_000) + 15}</integer>
	<!-- Users wait for its answers, so it must not be throttled like background work. -->
	<key>ProcessType</key>
	<string>Interactive</string>
	<key>SoftResourceLimits</key>
	<dict>
		<key>NumberOfFiles</key>
		<integer>4096</integer>
	</dict>
	<!-- as octal 077 -->
	<key>Umask</key>
	<integer>63</integer>

	<key>StandardOutPath</key>
	<string>${xml(log)}</string>
	<key>StandardErrorPath</key>
	<string>${xml(log)}</string>
</dict>
</plist>
`
}
