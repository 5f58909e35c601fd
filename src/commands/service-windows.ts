/**
 * The scheduled task of Windows, and the script that it runs.
 * https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tsch/0d6383e4-de92-43e7-b0bb-a60cfa36379f
 */
import { ProxyError } from '../errors.ts'
import { powerShellLiteral } from '../shell-quote.ts'
import {
  RESTART_SECONDS,
  SERVICE_NAME,
  type ServiceContext,
  type ServicePlan,
  SHOWN_LINES,
  WRITTEN_BY,
  xml,
} from './service-plan.ts'

/** The script moves a longer log away before it starts the proxy. */
const MAX_LOG_BYTES = 10_485_760

/** A task that starts when the user logs in. It belongs to one user, so that it needs no administrator. */
export function windowsPlan(context: ServiceContext): ServicePlan {
  const folder = `${context.home.local}\\${SERVICE_NAME}`
  const script = `${folder}\\service.cmd`
  const task = `${folder}\\service-task.xml`
  const log = `${folder}\\service.log`
  const schtasks = (...words: string[]) => ({ words: ['schtasks.exe', ...words] })
  const end = { ...schtasks('/End', '/TN', SERVICE_NAME), mayFail: true }
  return {
    name: `the scheduled task ${SERVICE_NAME}`,
    files: [
      { path: script, text: scriptText(context, log), mode: 0o600, encoding: 'utf8' },
      { path: task, text: taskText(context, script), mode: 0o600, encoding: 'utf16' },
    ],
    writes: [log, `${log}.old`],
    start: [schtasks('/Create', '/TN', SERVICE_NAME, '/XML', task, '/F'), end, schtasks('/Run', '/TN', SERVICE_NAME)],
    stop: [end, { ...schtasks('/Delete', '/TN', SERVICE_NAME, '/F'), mayFail: true }],
    forget: [],
    killsOnly: true,
    status: ['schtasks.exe', '/Query', '/TN', SERVICE_NAME, '/V', '/FO', 'LIST'],
    logs: follow => [
      'powershell.exe',
      '-NoProfile',
      '-Command',
      `Get-Content -Encoding UTF8 -LiteralPath ${powerShellLiteral(log)} -Tail ${SHOWN_LINES}${follow ? ' -Wait' : ''}`,
    ],
    notes: [`It starts when you log in. Its log is ${log}.`],
  }
}

/**
 * The task runs this script instead of the proxy: a task has no variables and no log, and starts nothing again because of an
 * exit code. An exit code of 0 is a stop. After invalid settings (2), a restart doesn't help.
 */
function scriptText({ program, config, environment }: ServiceContext, log: string): string {
  const variables = Object.entries(environment).map(([name, value]) => `set ${cmdWord(`${name}=${value}`)}`)
  const words = [...program, '--config', config, '--log-format', 'json']
  const lines = [
    '@echo off',
    `rem ${WRITTEN_BY}`,
    'chcp 65001 >nul',
    ...variables,
    ':start',
    `for %%F in (${cmdWord(log)}) do if %%~zF GTR ${MAX_LOG_BYTES} move /y ${cmdWord(log)} ${cmdWord(`${log}.old`)} >nul`,
    `${words.map(cmdWord).join(' ')} >>${cmdWord(log)} 2>&1`,
    'set "CODE=%ERRORLEVEL%"',
    'if %CODE% EQU 0 exit /b 0',
    'if %CODE% EQU 2 exit /b 2',
    // timeout.exe needs a console for its input.
    `ping -n ${RESTART_SECONDS + 1} 127.0.0.1 >nul`,
    'goto start',
  ]
  return lines.map(line => `${line}\r\n`).join('')
}

/** PowerShell hides the window that the script would have. */
function taskText({ user }: ServiceContext, script: string): string {
  const command = `& ${powerShellLiteral(script)}; exit $LASTEXITCODE`
  const lines = `<?xml version="1.0" encoding="UTF-16"?>
<!-- ${WRITTEN_BY} -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>MySQL proxy that logs in to Amazon RDS with IAM</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>${xml(user.name)}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>${xml(user.name)}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <IdleSettings>
      <StopOnIdleEnd>false</StopOnIdleEnd>
      <RestartOnIdle>false</RestartOnIdle>
    </IdleSettings>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>powershell.exe</Command>
      <Arguments>${xml(`-NoProfile -NonInteractive -WindowStyle Hidden -Command "${command}"`)}</Arguments>
    </Exec>
  </Actions>
</Task>
`
  return lines.replaceAll('\n', '\r\n')
}

/** One word of a script for cmd.exe. @throws ProxyError CONFIG_INVALID for a text that no script can have */
function cmdWord(text: string): string {
  if (text.includes('"')) {
    throw new ProxyError(
      'CONFIG_INVALID',
      `service: ${text} contains a quotation mark, which a script of Windows can't pass on`,
    )
  }
  return `"${text.replaceAll('%', '%%')}"`
}
