import { test } from 'tap'
import { terminalReporter } from '../../src/check/report.ts'
import type { StepResult, StepsResult } from '../../src/check/steps.ts'

function printed(quiet: boolean, steps: StepResult[], failed: StepsResult['failed']): string {
  let text = ''
  const write = (more: string) => {
    text += more
  }
  const reporter = terminalReporter({ write, width: 80, isLive: false, colours: false, quiet })
  for (const step of steps) {
    reporter.begin(step.step)
    reporter.progress(step.step, 'still waiting')
    reporter.end(step)
  }
  reporter.finish({ steps, failed, exitCode: failed ? 5 : 0 } as StepsResult)
  return text
}

const good: StepResult = { step: 'dns', milliseconds: 1, facts: { address: '10.0.0.1' }, warnings: [] } as never
const finding = {
  code: 'TLS_WRONG_NAME',
  message: 'another name',
  hint: 'Fix it',
  advice: [],
  explanation: 'Why',
  docs: 'docs/errors.md',
  errno: 1043,
}
const warned: StepResult = { ...good, step: 'tls', warnings: [finding] } as never
const bad: StepResult = { ...good, step: 'login', error: finding } as never

test('check --quiet prints nothing about a good path', t => {
  t.equal(printed(true, [good, good], undefined), '')
  t.match(printed(false, [good], undefined), /dns.*1 ms[\s\S]*A login through the whole path and a query succeeded/)
  t.end()
})

test('check --quiet prints the steps with problems', t => {
  t.match(printed(true, [good, warned], undefined), /^! tls[\s\S]*another name/)
  const text = printed(true, [good, bad], finding as never)
  t.notMatch(text, /dns|still waiting/)
  t.match(text, /^✗ login[\s\S]*What to do: Fix it/)
  t.end()
})
