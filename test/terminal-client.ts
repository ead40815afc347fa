import { WebSocket } from 'ws'

/** What the service said when it ended a connection. */
export class TerminalClosed extends Error {
  override readonly name = 'TerminalClosed'
  /** WebSocket close code. */
  readonly closeCode: number
  /** Of the error frame, when there was one. */
  readonly code: string | null

  constructor(closeCode: number, error: { code: string; message: string } | null) {
    super(error ? `${error.code}: ${error.message}` : `closed with ${closeCode}`)
    this.closeCode = closeCode
    this.code = error?.code ?? null
  }
}

export type Ready = {
  sessionId: string
  secret?: string
  outputOffset: number
  inputOffset: number
  inputAcknowledged: number
  outputWindow: number
  inputWindow: number
  resumeSeconds: number
}

export type TerminalClient = {
  readonly sessionId: string
  /** Everything received since the session began, over all connections. */
  readonly output: Buffer
  /** Resolves with all output up to and including the first match; searches only what was not returned yet. */
  readUntil(pattern: string | RegExp): Promise<string>
  write(input: string | Uint8Array): void
  resize(columns: number, rows: number): void
  /** Ends the shell, and resolves when the connection is over. */
  close(): Promise<void>
  /** Breaks the connection without a word, as a lost network does. */
  drop(): void
  /** Connects again and goes on where output and input stopped. */
  resume(options?: { offset?: number | null }): Promise<Ready>
  /** Stops reading from the network, or goes on. */
  pause(): void
  unpause(): void
  /** Settles when the shell has ended. Rejects with {@link TerminalClosed} when the connection ends otherwise. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  /** Settles when the present connection is over, with its close code. */
  closed(): Promise<number>
  /** Sends a raw frame. */
  send(frame: Uint8Array | string): void
}

export type TerminalOptions = {
  url: string
  token: string
  /** As a browser would send it. */
  origin?: string
  columns?: number
  rows?: number
  /** Sends the token as a subprotocol rather than in the first frame. */
  tokenAsSubprotocol?: boolean
  /** Whether output is acknowledged as it comes. Default true. */
  acknowledge?: boolean
}

const SUBPROTOCOL = 'berth.terminal.v1'
const STDIN = 0
const STDOUT = 1
const STDERR = 2
const RESIZE = 3
const ACK = 4
const CLOSE = 5
const ERROR = 6
const OPEN = 7
const RESUME = 8
const READY = 9

/** Opens a terminal. @throws {TerminalClosed} when the service refuses */
export async function openTerminal(options: TerminalOptions): Promise<TerminalClient> {
  const { url, token, origin, columns = 80, rows = 24, acknowledge = true } = options
  const received: Buffer[] = []
  let outputOffset = 0
  let acknowledged = 0
  let searchedTo = 0
  /** Input that the service has not confirmed, by offset of its first byte. */
  let unconfirmed: Buffer = Buffer.alloc(0)
  let inputConfirmed = 0
  let inputSent = 0
  let inputWindow = 0
  let session: Ready | null = null
  let socket: WebSocket
  let lastError: TerminalClosed | null = null
  let closing: Promise<number>
  const waiters = new Set<() => void>()
  const exit = Promise.withResolvers<{ code: number | null; signal: string | null }>()
  exit.promise.catch(() => {})

  function connect(first: object, isResume: boolean): Promise<Ready> {
    const offered = [SUBPROTOCOL]
    if (options.tokenAsSubprotocol && !isResume) offered.push(`berth.token.${token}`)
    socket = new WebSocket(url, offered, origin === undefined ? {} : { origin })
    const own = socket
    const ready = Promise.withResolvers<Ready>()
    let error: { code: string; message: string } | null = null
    own.on('open', () => own.send(jsonFrame(isResume ? RESUME : OPEN, first)))
    own.on('message', (data: Buffer) => {
      const [channel] = data
      const payload = data.subarray(1)
      if (channel === READY) {
        session = { ...session, ...JSON.parse(payload.toString()) } as Ready
        ready.resolve(session)
        begin(session)
      } else if (channel === STDOUT || channel === STDERR) take(payload)
      else if (channel === ACK) confirm(Number(payload.readBigUInt64BE()))
      else if (channel === CLOSE) exit.resolve(JSON.parse(payload.toString()))
      else if (channel === ERROR) error = JSON.parse(payload.toString())
    })
    own.on('error', () => {}) // Followed by close.
    own.on('unexpected-response', (_request, response) => {
      error = { code: `HTTP ${response.statusCode}`, message: 'not upgraded' }
      own.terminate()
    })
    closing = new Promise((done) => {
      own.on('close', (code) => {
        const closed = new TerminalClosed(code, error)
        ready.reject(closed)
        lastError = closed
        if (error) exit.reject(closed)
        for (const wake of waiters) wake()
        done(code)
      })
    })
    return ready.promise
  }

  function begin(it: Ready): void {
    if (it.outputOffset < outputOffset) {
      received.splice(0)
      searchedTo = 0
    }
    outputOffset = it.outputOffset
    inputWindow = it.inputWindow
    inputSent = it.inputOffset
    confirm(it.inputAcknowledged)
    flush()
  }

  function take(bytes: Buffer): void {
    received.push(bytes)
    outputOffset += bytes.length
    for (const wake of waiters) wake()
    if (!acknowledge || outputOffset - acknowledged < (session?.outputWindow ?? 0) / 4) return
    acknowledged = outputOffset
    const frame = Buffer.alloc(9)
    frame[0] = ACK
    frame.writeBigUInt64BE(BigInt(outputOffset), 1)
    send(frame)
  }

  function confirm(offset: number): void {
    if (offset <= inputConfirmed) return
    unconfirmed = unconfirmed.subarray(offset - inputConfirmed)
    inputConfirmed = offset
    flush()
  }

  /** Sends what the window has room for. */
  function flush(): void {
    for (;;) {
      const from = inputSent - inputConfirmed
      const piece = unconfirmed.subarray(from, Math.min(inputWindow, from + 16_384))
      if (piece.length === 0) return
      inputSent += piece.length
      send(Buffer.concat([Buffer.from([STDIN]), piece]))
    }
  }

  function send(frame: Uint8Array | string): void {
    if (socket.readyState === WebSocket.OPEN) socket.send(frame)
  }

  const output = () => Buffer.concat(received)

  async function readUntil(pattern: string | RegExp): Promise<string> {
    for (;;) {
      const text = output().toString('latin1').slice(searchedTo)
      const found = typeof pattern === 'string' ? text.indexOf(pattern) : text.search(pattern)
      if (found >= 0) {
        const length =
          typeof pattern === 'string' ? pattern.length : (pattern.exec(text)?.[0].length ?? 0)
        searchedTo += found + length
        return text.slice(0, found + length)
      }
      if (socket.readyState >= WebSocket.CLOSING) {
        throw new Error(
          `${await closing} ${lastError?.message ?? ''}: the connection ended before ${pattern}: ${JSON.stringify(text.slice(-500))}`,
        )
      }
      await new Promise<void>((done) => {
        const wake = () => {
          waiters.delete(wake)
          done()
        }
        waiters.add(wake)
      })
    }
  }

  const first = { ...(!options.tokenAsSubprotocol && { token }), columns, rows }
  const { sessionId } = await connect(first, false)
  return {
    sessionId,
    get output() {
      return output()
    },
    readUntil,
    write(input) {
      unconfirmed = Buffer.concat([unconfirmed, Buffer.from(input as Uint8Array)])
      flush()
    },
    resize(columns, rows) {
      const frame = Buffer.alloc(5)
      frame[0] = RESIZE
      frame.writeUInt16BE(columns, 1)
      frame.writeUInt16BE(rows, 3)
      send(frame)
    },
    async close() {
      send(Buffer.from([CLOSE]))
      await closing
    },
    drop: () => socket.terminate(),
    resume: ({ offset = outputOffset } = {}) =>
      connect({ sessionId, secret: session?.secret, offset }, true),
    pause: () => socket.pause(),
    unpause: () => socket.resume(),
    exited: exit.promise,
    closed: () => closing,
    send,
  }
}

function jsonFrame(channel: number, content: object): Buffer {
  return Buffer.concat([Buffer.from([channel]), Buffer.from(JSON.stringify(content))])
}
