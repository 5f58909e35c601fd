/**
 * COM_CHANGE_USER: the client logs in anew in the middle of its session, and so do we, with a fresh token.
 *
 *   client                          proxy                            server
 *     | -- COM_CHANGE_USER (0) -----> |                                |
 *     |                               | -- COM_CHANGE_USER (0) ------> |   with a made-up answer: a token would not fit
 *     | <--- answers to earlier commands, where the client pipelines --- |
 *     |                               | <-- AuthSwitchRequest (1) ---- |   mysql_clear_password
 *     | <-- AuthSwitchRequest (1) --- |                                |
 *     | -- answer (2) --------------> |                                |   local login
 *     |                               | -- token (2) ----------------> |
 *     | <-- [AuthMoreData] OK_Packet  | <-- OK_Packet (3) ------------ |
 *
 * The server's AuthSwitchRequest is the barrier: it comes behind all answers to earlier commands, so that nothing is
 * overtaken, and only then is the client led through its own login.
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { authenticateClient, type Client, databaseUser, sendOK } from './client.ts'
import { clearPassword, MYSQL_CLEAR_PASSWORD, MYSQL_NATIVE_PASSWORD } from './protocol/auth.ts'
import { COMPRESSED_HEADER_LENGTH } from './protocol/commands.ts'
import {
  type ERR_Packet,
  encodeComChangeUser,
  encodeERR_Packet,
  parseAuthSwitchRequest,
  parseComChangeUser,
} from './protocol/packets.ts'
import { authSwitchRequestAt, endsWithERR_Packet } from './protocol/tail.ts'
import { createTokenInTime, refuseToSwitch, sendSecret, type Target, throwUnlessOK, type Upstream } from './upstream.ts'
import { framePacket, frameUncompressed, parsed, readBytes, readPacket, type Wire, writePacket } from './wire.ts'

/** Milliseconds after an ERR_Packet in which an AuthSwitchRequest may still come, where the client has pipelined more. */
const AFTER_ERROR = 1_000

/**
 * Takes the COM_CHANGE_USER that is next on the client's wire through to its result.
 * Resolves when the relay may go on: after the server's OK_Packet with the new database user, or with undefined where it
 * refused without asking for a token.
 * @param address where the client comes from
 * @throws ProxyError whatever a login may end with: the session is over then, as it is directly
 */
export async function changeUser(
  client: Client,
  upstream: Upstream,
  target: Target,
  address: string,
): Promise<string | undefined> {
  const deadline = Date.now() + target.endpoint.loginTimeout
  Object.assign(client.wire, { sequence: 0, deadline })
  Object.assign(upstream.wire, { sequence: 0, deadline })
  const payload = await readPacket(client.wire, 'COM_CHANGE_USER')
  const command = parsed(client.wire, 'COM_CHANGE_USER', () =>
    parseComChangeUser(payload, client.response.capabilities),
  )
  const user = databaseUser(command.user, target.endpoint.user, target.access)

  const madeUp = { user: Buffer.from(user), authResponse: randomBytes(20), authPlugin: MYSQL_NATIVE_PASSWORD }
  const charset = command.charset ?? client.response.charset
  writePacket(upstream.wire, encodeComChangeUser({ ...command, ...madeUp, charset }))
  if (!(await forwardUntilAsked(upstream.wire.socket, client.wire.socket))) return undefined

  upstream.wire.deadline = client.wire.deadline = Date.now() + target.endpoint.loginTimeout
  const question = await readPacket(upstream.wire, 'AuthSwitchRequest')
  const { authPlugin } = parsed(upstream.wire, 'AuthSwitchRequest', () => parseAuthSwitchRequest(question))
  if (authPlugin !== MYSQL_CLEAR_PASSWORD) throw await refuseToSwitch(upstream.wire, user, authPlugin)

  try {
    // As servers do it, with an AuthSwitchRequest; without plugins, what the client sent is its whole login.
    const switchFirst = command.authPlugin !== undefined
    await authenticateClient(client, { ...command, switchFirst }, target.access, address)
    await target.queue.turn(upstream.wire.deadline, target.state)
  } catch (error) {
    await refuseToSwitch(upstream.wire, user, '')
    throw error
  }
  sendSecret(upstream.wire, clearPassword(await createTokenInTime(target, user, upstream.wire)))
  const result = await readPacket(upstream.wire, 'the result of COM_CHANGE_USER')
  throwUnlessOK(upstream.wire, result, user)
  sendOK(client, result)
  return user
}

/**
 * Hands on what the server sends until it ends with an AuthSwitchRequest, which is left in the socket: true.
 * False where the server answered without asking: it closed, or sent an ERR_Packet and the client goes on.
 */
function forwardUntilAsked(upstream: Socket, client: Socket): Promise<boolean> {
  return new Promise(resolve => {
    let timer: NodeJS.Timeout | undefined
    const settle = (asked: boolean) => {
      clearTimeout(timer)
      upstream.off('data', onData).off('end', onEnd).off('close', onEnd)
      client.off('readable', onClientReadable).off('close', onEnd)
      upstream.pause()
      resolve(asked)
    }
    const onEnd = () => settle(false)
    const onClientReadable = () => settle(false)
    const onData = (chunk: Buffer) => {
      const at = authSwitchRequestAt(chunk)
      client.write(at < 0 ? chunk : chunk.subarray(0, at))
      if (at >= 0) {
        upstream.pause()
        upstream.unshift(chunk.subarray(at))
        settle(true)
      } else if (endsWithERR_Packet(chunk)) {
        // The answer to this command, on which the client will speak; or to an earlier one of a client that pipelines.
        if (client.readableLength > 0) timer = setTimeout(onEnd, AFTER_ERROR)
        else client.on('readable', onClientReadable)
      }
    }
    upstream.on('data', onData).on('end', onEnd).on('close', onEnd)
    client.on('close', onEnd)
    upstream.resume()
  })
}

/**
 * Takes the COM_CHANGE_USER of a compressed session off the wire and answers it with `error`, in a compressed packet
 * that is not compressed. Whoever compresses is far away, and changes users seldom: it is not carried out.
 */
export async function answerCompressed(wire: Wire, error: ERR_Packet): Promise<void> {
  const header = await readBytes(wire, COMPRESSED_HEADER_LENGTH, 'COM_CHANGE_USER')
  await readBytes(wire, header.readUIntLE(0, 3), 'COM_CHANGE_USER')
  wire.socket.write(frameUncompressed(framePacket(encodeERR_Packet(error), 1), 1))
}
