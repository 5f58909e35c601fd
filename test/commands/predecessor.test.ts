import { EventEmitter } from 'node:events'
import { Server } from 'node:net'
import { test } from 'tap'
import {
  connectPredecessor,
  type FromPredecessor,
  type FromSuccessor,
  type ParentChannel,
  PREDECESSOR_VARIABLE,
} from '../../src/commands/predecessor.ts'
import { ProxyError } from '../../src/errors.ts'

const SOCKETS = [{ owner: 'orders', listen: '127.0.0.1:0', address: '127.0.0.1:40000' }]

/** The parent's side of the channel, and what it got. */
class Parent extends EventEmitter implements ParentChannel {
  ppid = 7
  pid = 8
  connected = true
  env: NodeJS.ProcessEnv = { [PREDECESSOR_VARIABLE]: '7', LISTEN_FDS: '1', LISTEN_PID: '7' }
  got: FromSuccessor[] = []
  send(message: FromSuccessor, done: () => void): boolean {
    this.got.push(message)
    if (message.what === 'hello') this.say({ what: 'sockets', sockets: SOCKETS })
    done()
    return true
  }
  say(message: FromPredecessor, server?: Server): void {
    this.emit('message', message, server)
  }
  end(): void {
    this.connected = false
    this.emit('disconnect')
  }
}

test('only a child of the process that upgrades has a predecessor', async t => {
  const orphan = new Parent()
  orphan.ppid = 1
  t.equal(await connectPredecessor(orphan), undefined, 'its parent has exited')
  t.notOk(PREDECESSOR_VARIABLE in orphan.env, 'programs that it starts are no successors')
  const alone = new Parent()
  alone.connected = false
  t.equal(await connectPredecessor(alone), undefined)
  const silent = new Parent()
  silent.send = () => {
    silent.end()
    return false
  }
  t.equal(await connectPredecessor(silent), undefined, 'the old process ends before it answers')
  t.equal(await connectPredecessor(), undefined, 'this test')
})

test('the conversation of the new process', async t => {
  const parent = new Parent()
  const predecessor = (await connectPredecessor(parent))!
  t.same(predecessor.sockets, SOCKETS)
  t.equal(parent.env['LISTEN_PID'], '8', 'the sockets of systemd are now for this process')
  const taking = predecessor.take(0)
  const server = new Server()
  parent.say({ what: 'taken', index: 1 }, server)
  parent.say({ what: 'taken', index: 0 })
  parent.say({ what: 'taken', index: 0 }, server)
  t.equal(await taking, server)
  predecessor.ready()
  t.equal(predecessor.sessions(), 0)
  parent.say({ what: 'draining', sessions: 3 })
  t.equal(predecessor.sessions(), 3)
  await predecessor.failed(new ProxyError('LISTEN_FAILED', 'the port is in use', { hint: 'Choose another.' }))
  predecessor.stop()
  t.same(parent.got, [
    { what: 'hello' },
    { what: 'take', index: 0 },
    { what: 'ready' },
    { what: 'failed', message: 'the port is in use', hint: 'Choose another.' },
    { what: 'stopping' },
  ])
  const late = predecessor.take(0)
  parent.end()
  await t.rejects(late, {
    code: 'UPGRADE_FAILED',
    message: 'the previous process exited before it handed over its sockets',
  })
  await predecessor.gone
  t.equal(predecessor.sessions(), 0)
  predecessor.stop() // nobody is there
})
