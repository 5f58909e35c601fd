import { test } from 'tap'
import { configure } from '../../src/commands/exec.ts'
import { environmentName, OPTIONS } from '../../src/config/options.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'

test('exec listens on a free port, unless listen is set', async t => {
  const named = OPTIONS.listen.default
  const file = (text: string) => `${t.testdir({ 'config.yaml': text })}/config.yaml`
  const listensOn = async (flags: Record<string, unknown>, shorthand: string[] = [], environment = {}) =>
    (await configure(flags, shorthand, environment)).endpoint.settings.listen

  t.equal(await listensOn({ 'rds-endpoint': HOST }), '127.0.0.1:0')
  t.equal(await listensOn({}, [`${HOST}?connect-timeout=1s`]), '127.0.0.1:0')
  t.equal(await listensOn({ config: file(`rds-endpoint: ${HOST}\n`) }), '127.0.0.1:0')
  t.equal(await listensOn({ config: file(`endpoints: [{ rds-endpoint: ${HOST} }]\n`) }), '127.0.0.1:0')

  t.equal(await listensOn({ 'rds-endpoint': HOST, listen: named }), named, 'the default, but named: a flag')
  t.equal(await listensOn({ 'rds-endpoint': HOST }, [], { [environmentName('listen')]: named }), named, 'environment')
  t.equal(await listensOn({}, [`${HOST}?port=3306`]), named, 'shorthand')
  t.equal(await listensOn({ config: file(`rds-endpoint: ${HOST}\nlisten: ${named}\n`) }), named, 'top of the file')
  const ofEndpoint = `endpoints: [{ rds-endpoint: ${HOST}, listen: '${named}' }]\n`
  t.equal(await listensOn({ config: file(ofEndpoint) }), named, 'an endpoint of the file')
})

test('exec needs exactly one endpoint', async t => {
  const several = { code: 'CONFIG_INVALID', message: 'exec: needs exactly one endpoint' }
  await t.rejects(configure({}, [HOST, `other.${HOST}`], {}), several)
  await t.rejects(configure({}, [], {}), { code: 'CONFIG_INVALID', message: '--rds-endpoint is missing' })
})
