/** A real sshd for the tests: as this user, with its own keys, on a free port of 127.0.0.1. */
import { once } from 'node:events'
import { access, chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createScratchProcess } from '../../src/demo/scratch-process.ts'
import { run } from './database-server.ts'
import { freePort } from './free-port.ts'
import { ensurePackages, findProgram } from './packages.ts'
import { until } from './raw-client.ts'

export interface Sshd {
  port: number
  directory: string
  /** `ssh -N -L …` through this server, with `more` options before the host, as the option tunnel takes it */
  command(...more: string[]): string
  pid(): Promise<number>
  /** its log so far */
  log(): Promise<string>
  /** Ends the server and its connections. */
  stop(): Promise<void>
  /** Starts it again on the same port. */
  start(): Promise<void>
}

/** Both ends go with the test, also if this process is killed. */
export async function startSshd(t: Test, settings = ''): Promise<Sshd> {
  const programs = ['sshd', 'ssh', 'ssh-keygen']
  const hasAll = () => programs.every(name => findProgram(name) !== undefined)
  await ensurePackages('sshd and ssh', hasAll, ['openssh-server', 'openssh-client'])
  const scratch = await createScratchProcess()
  t.teardown(() => scratch.release())
  const { directory } = scratch
  const at = (name: string) => join(directory, name)
  const port = await freePort()
  for (const name of ['host', 'user', 'other']) {
    await run(findProgram('ssh-keygen')!, ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
  }
  // As root, sshd wants this directory.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true })
  await chmod(directory, 0o700)
  await writeFile(at('authorized_keys'), await readFile(at('user.pub')), { mode: 0o600 })
  await writeFile(at('known_hosts'), `[127.0.0.1]:${port} ${await readFile(at('host.pub'), 'utf8')}`)
  await writeFile(
    at('sshd_config'),
    `Port ${port}
ListenAddress 127.0.0.1
HostKey ${at('host')}
PidFile ${at('pid')}
AuthorizedKeysFile ${at('authorized_keys')}
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
MaxSessions 1000
${settings}
`,
  )
  const start = async () => {
    await scratch.run(findProgram('sshd')!, ['-D', '-e', '-f', at('sshd_config')])
    await until('sshd listens', async () => await accepts(port))
  }
  await start()
  return {
    port,
    directory,
    command: (...more) =>
      [
        `${findProgram('ssh')} -F none -N`,
        // ssh takes the first value of an option.
        ...more,
        `-p ${port} -i ${at('user')} -o IdentitiesOnly=yes -o BatchMode=yes`,
        `-o UserKnownHostsFile=${at('known_hosts')} -o ExitOnForwardFailure=yes`,
        `-L {localPort}:{host}:{port} ${userInfo().username}@127.0.0.1`,
      ].join(' '),
    pid: async () => Number(await readFile(at('pid'), 'utf8')),
    log: () => readFile(scratch.logFile, 'utf8'),
    async stop() {
      const pid = Number(await readFile(at('pid'), 'utf8'))
      for (const one of [pid, ...(await descendantsOf(pid))]) process.kill(one, 'SIGKILL')
      await until('sshd has ended', async () => !(await accepts(port)))
      await until('its pid is free', async () => !(await isRunning(pid)))
    },
    start,
  }
}

/** Each connection has its own processes. */
async function descendantsOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const children = text.split(' ').filter(Boolean).map(Number)
  return [...children, ...(await Promise.all(children.map(descendantsOf))).flat()]
}

async function isRunning(pid: number): Promise<boolean> {
  return await access(`/proc/${pid}`).then(
    () => true,
    () => false,
  )
}

/** Whether something listens there. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
