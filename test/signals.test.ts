import { test } from 'tap'
import { exitCodeOf, forwardedSignals, reloadsOnHangup, stopSignals } from '../src/signals.ts'

test('the signals that stop the program, on each system', t => {
  t.same(stopSignals('linux'), ['SIGINT', 'SIGTERM'])
  t.same(stopSignals('darwin'), ['SIGINT', 'SIGTERM'])
  t.same(stopSignals('win32'), ['SIGINT', 'SIGTERM', 'SIGBREAK', 'SIGHUP'])
  t.same(
    ['SIGINT', 'SIGTERM', 'SIGBREAK'].map(name => exitCodeOf(name as NodeJS.Signals)),
    [130, 143, 143],
  )
  t.end()
})

test('SIGHUP is a reload without a terminal, but not on Windows, where the console window was closed', t => {
  t.ok(reloadsOnHangup(false, 'linux'))
  t.notOk(reloadsOnHangup(true, 'linux'))
  t.notOk(reloadsOnHangup(false, 'win32'))
  t.end()
})

test('exec forwards no signals on Windows', t => {
  t.ok(forwardedSignals('darwin').includes('SIGHUP'))
  t.same(forwardedSignals('win32'), [])
  t.end()
})
