import { DomainError } from '@berth/platform/errors'
import { failure } from './failure.ts'
import { encodeServerFrame, OUTPUT_FRAME_BYTES, type Ready, type ServerFrame } from './protocol.ts'
import { createScrollback, type OutputStream } from './scrollback.ts'

/** A shell on a node, as far as a session knows it. */
export type Shell = {
  onOutput(listener: (chunk: Uint8Array, stream: OutputStream) => void): void
  /** @param written called once the node has taken it */
  write(chunk: Uint8Array, written: () => void): void
  pause(): void
  resume(): void
  resize(columns: number, rows: number): void
  /** Settles once all output was given; both null when the node was lost. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  close(): void
}

/** A client's connection, as far as a session knows it. */
export type Link = {
  send(frame: Uint8Array): void
  /** Bytes sent that the network has not taken yet. */
  readonly bufferedBytes: number
  close(code: number, reason: string): void
}

export type SessionLimits = {
  /** Unacknowledged output at which the shell is paused. */
  outputWindow: number
  /** Input that the shell has not taken, beyond which a client breaks the protocol. */
  inputWindow: number
  /** Acknowledged output that is kept for a reconnect. */
  scrollbackBytes: number
  resumeSeconds: number
  /** Without input or output. */
  idleSeconds: number
  maxSeconds: number
}

export type EndReason = 'EXIT' | 'CLIENT' | 'IDLE' | 'MAX_DURATION' | 'DRAIN' | 'ERROR' | 'REVOKED'

/** What one connection may do to the session it is attached to; nothing once another took over. */
export type Attachment = {
  input(bytes: Uint8Array): void
  acknowledge(offset: number): void
  resize(columns: number, rows: number): void
  /** The client wants the shell ended. */
  close(): void
  /** The network has taken what was sent. */
  flushed(): void
  /** @param isClean whether the client had heard all and closed in turn */
  detach(isClean: boolean): void
}

export type Session = {
  readonly id: string
  /**
   * Goes on from an output offset, or from the earliest that is kept. An earlier connection is closed.
   *
   * @param secret told to the client that opens the session, not to one that resumes
   * @throws {DomainError} STREAM_RESET when the offset is not kept any more or not reached yet
   */
  attach(link: Link, from: { offset: number | null; secret?: string }): Attachment
  /** @param error what a connected client is told */
  end(reason: EndReason, error?: DomainError, closeCode?: number): void
  readonly ended: Promise<EndReason>
}

const NORMAL_CLOSURE = 1_000
const RESIZE_MS = 50

/**
 * One shell and whoever is connected to it, one at a time. Output counts in bytes since the
 * beginning; so does input. Memory is bounded by the windows and the scrollback, whatever either
 * side does: unacknowledged output pauses the shell, and so does a link that does not drain.
 */
export function createSession({
  id,
  shell,
  limits,
  count = () => {},
}: {
  id: string
  shell: Shell
  limits: SessionLimits
  count?: (direction: 'input' | 'output', bytes: number) => void
}): Session {
  const output = createScrollback(limits.scrollbackBytes)
  const ended = Promise.withResolvers<EndReason>()
  let link: Link | null = null
  let sent = 0
  let acknowledged = 0
  let isPaused = false
  let inputReceived = 0
  let inputTaken = 0
  let inputTold = 0
  let exit: { code: number | null; signal: string | null } | null = null
  let isExitSent = false
  let isEnded = false
  let resizing: { timer: NodeJS.Timeout; columns: number; rows: number } | null = null

  const lifetime = after(limits.maxSeconds, () =>
    endWith('MAX_DURATION', 'is as old as one may get'),
  )
  const idle = after(limits.idleSeconds, () => endWith('IDLE', 'was idle for too long'))
  let abandoned = after(limits.resumeSeconds, () => end(exit ? 'EXIT' : 'CLIENT'))

  shell.onOutput((chunk, stream) => {
    if (isEnded) return
    output.append(chunk, stream)
    count('output', chunk.length)
    idle.refresh()
    regulate()
    pump()
  })
  void shell.exited.then((how) => {
    exit = how
    pump()
  })

  /** Sends what the window and the link have room for. */
  function pump(): void {
    while (link && sent < output.end) {
      const room = acknowledged + limits.outputWindow - sent
      if (room <= 0 || link.bufferedBytes >= limits.outputWindow) return
      const { bytes, stream } = output.read(sent, Math.min(room, OUTPUT_FRAME_BYTES))
      sent += bytes.length
      send({ type: 'output', stream, bytes })
    }
    if (!link || !exit || isExitSent) return
    if (exit.code === null && exit.signal === null) {
      const error = 'The node ended the connection, and the shell with it: open a new one.'
      end('ERROR', new DomainError('UPSTREAM_UNAVAILABLE', error))
      return
    }
    isExitSent = true
    send({ type: 'close', ...exit })
    link.close(NORMAL_CLOSURE, 'the shell has ended')
  }

  function regulate(): void {
    const waiting = output.end - acknowledged
    if (!isPaused && waiting >= limits.outputWindow) {
      isPaused = true
      shell.pause()
    } else if (isPaused && waiting <= limits.outputWindow / 2) {
      isPaused = false
      shell.resume()
    }
  }

  function send(frame: ServerFrame): void {
    link?.send(encodeServerFrame(frame))
  }

  function attach(next: Link, from: { offset: number | null; secret?: string }): Attachment {
    const offset = from.offset ?? output.start
    if (isEnded || offset < output.start || offset > output.end) {
      throw new DomainError(
        'STREAM_RESET',
        'The session’s output is not kept from this offset: resume with a null offset, and redraw.',
      )
    }
    if (link) closeLink(new DomainError('CONFLICT', 'Another connection took this session over.'))
    clearTimeout(abandoned)
    link = next
    sent = offset
    acknowledged = Math.max(acknowledged, offset)
    output.release(acknowledged)
    isExitSent = false
    inputTold = inputTaken
    send({ type: 'ready', ...readiness(from.secret) })
    regulate()
    pump()
    return attachment(next)
  }

  function readiness(secret: string | undefined): Ready {
    return {
      sessionId: id,
      ...(secret !== undefined && { secret }),
      outputOffset: sent,
      inputOffset: inputReceived,
      inputAcknowledged: inputTaken,
      outputWindow: limits.outputWindow,
      inputWindow: limits.inputWindow,
      resumeSeconds: limits.resumeSeconds,
    }
  }

  function attachment(own: Link): Attachment {
    const ifCurrent =
      <A extends unknown[]>(act: (...args: A) => void) =>
      (...args: A) => {
        if (link === own && !isEnded) act(...args)
      }
    return {
      input: ifCurrent(input),
      acknowledge: ifCurrent(acknowledge),
      resize: ifCurrent(resize),
      close: ifCurrent(() => {
        send({ type: 'close', code: null, signal: null })
        own.close(NORMAL_CLOSURE, 'closed by the client')
        end('CLIENT')
      }),
      flushed: ifCurrent(pump),
      detach: ifCurrent((isClean) => {
        link = null
        if (isExitSent && isClean) return end('EXIT')
        abandoned = after(limits.resumeSeconds, () => end(exit ? 'EXIT' : 'CLIENT'))
      }),
    }
  }

  function input(bytes: Uint8Array): void {
    if (inputReceived + bytes.length - inputTaken > limits.inputWindow) {
      throw new DomainError('BAD_INPUT', 'Input exceeds its window: wait for acknowledgements.')
    }
    inputReceived += bytes.length
    count('input', bytes.length)
    idle.refresh()
    shell.write(Buffer.from(bytes), () => {
      inputTaken += bytes.length
      // Clients need it for their window only, so not for each key.
      if (inputTaken - inputTold < limits.inputWindow / 4) return
      inputTold = inputTaken
      send({ type: 'ack', offset: inputTaken })
    })
  }

  function acknowledge(offset: number): void {
    if (offset > sent)
      throw new DomainError('BAD_INPUT', 'Output was acknowledged that was not sent.')
    acknowledged = Math.max(acknowledged, offset)
    output.release(acknowledged)
    regulate()
    pump()
  }

  /** The last of many sizes, as when a window's edge is dragged. */
  function resize(columns: number, rows: number): void {
    if (resizing) {
      Object.assign(resizing, { columns, rows })
      return
    }
    shell.resize(columns, rows)
    const timer = setTimeout(() => {
      if (resizing) shell.resize(resizing.columns, resizing.rows)
      resizing = null
    }, RESIZE_MS)
    resizing = { timer, columns, rows }
  }

  function endWith(reason: EndReason, why: string): void {
    end(reason, new DomainError('TIMEOUT', `The terminal session ${why}: open a new one.`))
  }

  function closeLink(error: DomainError, closeCode?: number): void {
    const { frame, close } = failure(error, id)
    link?.send(frame)
    link?.close(closeCode ?? close, error.code)
    link = null
  }

  function end(reason: EndReason, error?: DomainError, closeCode?: number): void {
    if (isEnded) return
    if (error) closeLink(error, closeCode)
    isEnded = true
    link = null
    for (const timer of [lifetime, idle, abandoned, resizing?.timer]) clearTimeout(timer)
    shell.close()
    ended.resolve(reason)
  }

  return { id, attach, end, ended: ended.promise }
}

function after(seconds: number, act: () => void): NodeJS.Timeout {
  return setTimeout(act, seconds * 1_000)
}
