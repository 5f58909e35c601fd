/**
 * COM_CHANGE_USER: the client logs in again in the middle of its session, and so do we, with a fresh token.
 *
 *   client                          proxy                            server
 *     | -- COM_CHANGE_USER (0) -----> |                                |
 *     |                               | -- COM_CHANGE_USER (0) ------> |   with a made-up answer: a token is too long
 *     | <------ answers to earlier commands, if the client pipelines ------ |
 *     |                               | <-- AuthSwitchRequest (1) ---- |   mysql_clear_password
 *     | <-- AuthSwitchRequest (1) --- |                                |
 *     | -- answer (2) --------------> |                                |   local login
 *     |                               | -- token (2) ----------------> |
 *     | <-- [AuthMoreData] OK_Packet  | <-- OK_Packet (3) ------------ |
 *
 * The server's AuthSwitchRequest is the barrier. It comes behind all answers to earlier commands, so that nothing overtakes
 * them. Only then does the client go through its own login.
 */
import { randomBytes } from 'node:crypto'
import { authenticateClient, type Client, sendOK, type Users, usersOf } from '../client/handshake.ts'
import { type ProxyError, toERR_Packet } from '../errors.ts'
import { parsed, readBytes, readPacket, timedOut, timeLeft, type Wire, writePacket } from '../net/wire.ts'
import { clearPassword, MYSQL_CLEAR_PASSWORD, MYSQL_NATIVE_PASSWORD } from '../protocol/auth.ts'
import { COMPRESSED_HEADER_LENGTH, isOnePacket, MAX_CHANGE_USER_BYTES } from '../protocol/compressed-command-scanner.ts'
import { authSwitchRequestAt, endsWithERR_Packet, isOK_Packet } from '../protocol/last-packet.ts'
import { encodeComChangeUser, parseAuthSwitchRequest, parseComChangeUser } from '../protocol/packets.ts'
import type { RelayEnd } from '../relay/relay.ts'
import {
  assertOK,
  createTokenInTime,
  noteResult,
  refuseToSwitch,
  sendSecret,
  unexpectedPlugin,
  waitForSlot,
} from '../upstream/login.ts'
import { writeError } from './end-session.ts'
import type { Served } from './served.ts'

/** How long to wait for an AuthSwitchRequest behind what looks like the answer, but may answer an earlier command. */
const SETTLE_MS = 1_000

/** How a server answers a COM_CHANGE_USER. */
type ServerAnswer = 'asked' | 'over' | 'OK' | 'nothing'

/**
 * Carries out the COM_CHANGE_USER that is next on the client's wire. Resolves when the relay may go on: with the new users
 * after the server's OK_Packet, or with undefined if the server refused without a request for a token.
 * @param address where the client comes from
 * @param pipelined whether answers to earlier commands may come first, which has no time limit
 * @throws ProxyError any error of a login; the session is over, as it would be without the proxy
 */
export async function changeUser(
  client: Client,
  upstream: Wire,
  target: Served,
  address: string,
  { pipelined = false }: RelayEnd,
): Promise<Users | undefined> {
  const deadline = upstream.clock.now() + target.endpoint.loginTimeout
  Object.assign(client.wire, { sequence: 0, deadline })
  Object.assign(upstream, { sequence: 0, deadline })
  const payload = await readPacket(client.wire, 'COM_CHANGE_USER')
  const command = parsed(client.wire, 'COM_CHANGE_USER', () => parseComChangeUser(payload, client.capabilities))
  const users = usersOf(command.user, target.endpoint.user, target.access)
  const { user } = users

  const madeUp = { user: Buffer.from(user), authResponse: randomBytes(20), authPlugin: MYSQL_NATIVE_PASSWORD }
  const charset = command.charset ?? client.charset
  writePacket(upstream, encodeComChangeUser({ ...command, ...madeUp, charset }))
  const answer = await forwardUntilAsked(upstream, client.wire, pipelined)
  upstream.stop?.throwIfAborted()
  if (answer === 'over') return undefined
  if (answer === 'nothing') throw timedOut(upstream, 'the answer to COM_CHANGE_USER')
  if (answer === 'OK') throw unexpectedPlugin(user, 'nothing')

  upstream.deadline = client.wire.deadline = upstream.clock.now() + target.endpoint.loginTimeout
  const question = await readPacket(upstream, 'AuthSwitchRequest')
  const { authPlugin } = parsed(upstream, 'AuthSwitchRequest', () => parseAuthSwitchRequest(question))
  if (authPlugin !== MYSQL_CLEAR_PASSWORD) throw await refuseToSwitch(upstream, user, authPlugin)

  try {
    // Servers always send an AuthSwitchRequest, except to a client without CLIENT_PLUGIN_AUTH.
    await authenticateClient(client, { ...command, switchFirst: true }, target.access, address)
    await waitForSlot(target, client.wire, upstream)
  } catch (error) {
    await refuseToSwitch(upstream, user, '')
    throw error
  }
  const token = await createTokenInTime(target, user, upstream)
  sendSecret(upstream, clearPassword(token))
  const result = await readPacket(upstream, 'the result of COM_CHANGE_USER')
  assertOK(upstream, result, user, noteResult(target, result, user, token))
  sendOK(client, result)
  return users
}

/**
 * Forwards the server's answers up to its AuthSwitchRequest, which stays in the socket. Resolves with
 * 'asked': the AuthSwitchRequest is next;
 * 'over': the relay may go on, because a side closed, or the server sent an ERR_Packet and the client the next command;
 * 'OK': the server accepted the client without a token, and the client has not got that OK_Packet;
 * 'nothing': the server was silent until the deadline.
 */
function forwardUntilAsked(upstreamWire: Wire, clientWire: Wire, pipelined: boolean): Promise<ServerAnswer> {
  const { socket: upstream } = upstreamWire
  const { socket: client } = clientWire
  return new Promise(resolve => {
    let cancelTimer = () => {}
    let isRefused = false
    let held: Buffer | undefined
    const settle = (answer: ServerAnswer) => {
      cancelTimer()
      upstream.off('data', onData).off('end', onEnd).off('close', onEnd)
      client.off('readable', onClientReadable).off('end', onEnd).off('close', onEnd)
      upstreamWire.stop?.removeEventListener('abort', onEnd)
      upstream.pause()
      resolve(answer)
    }
    const settleAfter = (milliseconds: number, answer: ServerAnswer) => {
      cancelTimer = upstreamWire.clock.after(milliseconds, () => settle(answer))
    }
    const onEnd = () => settle(held ? 'OK' : 'over')
    const onClientReadable = () => {
      if (client.readableLength === 0)
        client.read(0) // 'end' is emitted only after a read
      else if (isRefused) settle('over')
    }
    const onData = (data: Buffer) => {
      cancelTimer()
      const chunk = held ? Buffer.concat([held, data]) : data
      held = undefined
      isRefused = false
      const at = authSwitchRequestAt(chunk)
      if (at < 0 && !pipelined && isOK_Packet(chunk)) {
        // This answers the command, unless more follows.
        held = chunk
        settleAfter(SETTLE_MS, 'OK')
        return
      }
      client.write(at < 0 ? chunk : chunk.subarray(0, at))
      if (at >= 0) {
        upstream.pause()
        upstream.unshift(chunk.subarray(at))
        settle('asked')
      } else if (endsWithERR_Packet(chunk)) {
        // This answers the command, or an earlier command of a client that pipelines. The client's next bytes tell.
        if (client.readableLength > 0) settleAfter(SETTLE_MS, 'over')
        else isRefused = true
      }
    }
    upstream.on('data', onData).on('end', onEnd).on('close', onEnd)
    client.on('readable', onClientReadable).on('end', onEnd).on('close', onEnd)
    upstreamWire.stop?.addEventListener('abort', onEnd)
    if (!pipelined) settleAfter(timeLeft(upstreamWire), 'nothing')
    upstream.resume()
  })
}

/**
 * Refuses the COM_CHANGE_USER of a compressed session, where its answer cannot be exchanged for a token. The session goes on
 * if the command is alone in its compressed packet, as clients send it: the server gets nothing of it.
 * @param session its id
 * @throws ProxyError `error` if the command cannot be taken out of the stream, CLIENT_…
 */
export async function refuseCompressed(
  wire: Wire,
  { endpoint }: Served,
  error: ProxyError,
  { isPartlySent }: RelayEnd,
  session: string,
): Promise<void> {
  if (isPartlySent) throw error
  wire.deadline = wire.clock.now() + endpoint.loginTimeout
  const header = await readBytes(wire, COMPRESSED_HEADER_LENGTH, 'COM_CHANGE_USER')
  const [length, uncompressedLength] = [header.readUIntLE(0, 3), header.readUIntLE(4, 3)]
  if (Math.max(length, uncompressedLength) > MAX_CHANGE_USER_BYTES) throw error
  const frame = Buffer.concat([header, await readBytes(wire, length, 'COM_CHANGE_USER')])
  if (!parsed(wire, 'COM_CHANGE_USER', () => isOnePacket(frame))) throw error
  writeError(wire.socket, toERR_Packet(error, {}, session), true)
}
