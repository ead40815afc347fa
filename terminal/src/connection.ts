import { DomainError, isExpected } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { failure } from './failure.ts'
import { type ClientFrame, decodeClientFrame } from './protocol.ts'
import type { Attachment, Link } from './session.ts'
import type { Client, Terminals } from './terminals.ts'

export type Connection = {
  /** A binary message. */
  receive(frame: Uint8Array): void
  /** A text message, which the protocol does not have. */
  receiveText(): void
  flushed(): void
  /** @param isClean whether both sides closed */
  closed(isClean: boolean): void
}

/** From a connection to its first whole frame, in which the token is. */
const FIRST_FRAME_SECONDS = 10

/**
 * One client connection: its first frame opens or resumes a session, all others go to it. Whatever
 * is wrong is told in an error frame, and closes the connection.
 */
export function createConnection({
  link,
  client,
  offeredToken,
  terminals,
  log,
}: {
  link: Link
  client: Client
  /** The token, when it came as a subprotocol. */
  offeredToken: string | null
  terminals: Terminals
  log: Log
}): Connection {
  let state: 'waiting' | 'opening' | 'attached' | 'over' = 'waiting'
  let attachment: Attachment | null = null
  const patience = setTimeout(
    () => fail(new DomainError('TIMEOUT', 'No open or resume frame came in time.')),
    FIRST_FRAME_SECONDS * 1_000,
  )

  function receive(frame: Uint8Array): void {
    if (state === 'over') return
    try {
      act(decodeClientFrame(frame))
    } catch (error) {
      fail(error)
    }
  }

  function act(frame: ClientFrame): void {
    if (state === 'waiting') begin(frame)
    else if (attachment) forward(frame, attachment)
    else throw new DomainError('BAD_INPUT', 'Send nothing until the ready frame came.')
  }

  function forward(frame: ClientFrame, to: Attachment): void {
    switch (frame.type) {
      case 'stdin':
        to.input(frame.bytes)
        break
      case 'ack':
        to.acknowledge(frame.offset)
        break
      case 'resize':
        to.resize(frame.columns, frame.rows)
        break
      case 'close':
        to.close()
        break
      default:
        throw new DomainError('BAD_INPUT', 'This connection has its session already.')
    }
  }

  function begin(frame: ClientFrame): void {
    if (frame.type === 'resume') {
      attachment = terminals.resume(frame, client, link)
      state = 'attached'
      clearTimeout(patience)
      return
    }
    if (frame.type !== 'open') {
      throw new DomainError('BAD_INPUT', 'The first frame opens or resumes a session.')
    }
    const token = frame.token ?? offeredToken
    if (token === null || (frame.token !== undefined && offeredToken !== null)) {
      throw new DomainError(
        'BAD_INPUT',
        'Send the token once: in the open frame or as a subprotocol.',
      )
    }
    state = 'opening'
    clearTimeout(patience)
    terminals.open({ ...frame, token }, client, link).then(opened, fail)
  }

  function opened(it: Attachment): void {
    if (state === 'over') {
      // The client left meanwhile, without the secret to come back with.
      it.close()
      return
    }
    state = 'attached'
    attachment = it
  }

  function fail(error: unknown): void {
    if (state === 'over') return
    if (!isExpected(error)) log.error({ err: error }, 'terminal connection failed')
    else log.info({ reason: (error as DomainError).code }, 'terminal connection refused')
    const { frame, close } = failure(error, client.requestId)
    link.send(frame)
    link.close(close, error instanceof DomainError ? error.code : 'INTERNAL')
    over(false)
  }

  function over(isClean: boolean): void {
    if (state === 'over') return
    state = 'over'
    clearTimeout(patience)
    attachment?.detach(isClean)
    attachment = null
  }

  return {
    receive,
    receiveText: () => fail(new DomainError('BAD_INPUT', 'Frames are binary messages.')),
    flushed: () => attachment?.flushed(),
    closed: over,
  }
}
