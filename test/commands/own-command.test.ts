import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { ownCommand } from '../../src/commands/own-command.ts'

test('the program is started again by the path that it was started with', async t => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'own-command-')))
  t.teardown(() => rm(directory, { recursive: true }))
  const [real, link] = [join(directory, '1.0/proxy'), join(directory, 'bin/proxy')]
  await mkdir(join(directory, '1.0'))
  await mkdir(join(directory, 'bin'))
  await writeFile(real, '')
  await symlink(real, link)
  const facts = {
    argv: [real, '/usr/lib/proxy.js', '--config', 'x'],
    execPath: real,
    execArgv: ['--enable-source-maps'],
    cwd: directory,
    path: `/nowhere:${join(directory, 'bin')}`,
    isExecutable: true,
  }
  for (const argv0 of [link, 'bin/proxy', './bin/proxy', 'proxy']) {
    t.same(ownCommand({ ...facts, argv0 }), { program: link, first: [] }, argv0)
  }
  t.equal(ownCommand({ ...facts, argv0: 'another-name' }).program, real, 'a name that leads nowhere')
  await writeFile(join(directory, 'other'), '')
  t.equal(ownCommand({ ...facts, argv0: join(directory, 'other') }).program, real, 'the name of another program')
  t.same(
    ownCommand({ ...facts, argv0: link, isExecutable: false }),
    { program: link, first: ['--enable-source-maps', '/usr/lib/proxy.js'] },
    'Node.js gets its options and the script',
  )
  t.equal(typeof ownCommand().program, 'string')
})
