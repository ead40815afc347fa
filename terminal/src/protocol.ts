import { DomainError, type ErrorCode } from '@berth/platform/errors'
import { z } from 'zod'

/** The WebSocket subprotocol; `doc/terminal-protocol.md` describes its frames byte by byte. */
export const SUBPROTOCOL = 'berth.terminal.v1'
/** Prefix of a further subprotocol entry by which browsers may send the token. */
export const TOKEN_SUBPROTOCOL = 'berth.token.'

/** The first byte of every frame. */
export const CHANNEL = {
  STDIN: 0,
  STDOUT: 1,
  STDERR: 2,
  RESIZE: 3,
  ACK: 4,
  CLOSE: 5,
  ERROR: 6,
  OPEN: 7,
  RESUME: 8,
  READY: 9,
} as const

/** Bytes of a frame, channel included, that the service takes. */
export const FRAME_BYTES_MAX = 65_536
/** Bytes of output in one frame. */
export const OUTPUT_FRAME_BYTES = 32_768

const columns = z.int().min(1).max(1_000)
const rows = z.int().min(1).max(1_000)
const offset = z.int().min(0)

const openRequest = z.strictObject({
  /** Absent when it came as a subprotocol. */
  token: z.string().min(1).max(512).optional(),
  columns,
  rows,
  term: z
    .string()
    .regex(/^[\w.+-]{1,64}$/)
    .default('xterm-256color'),
})
const resumeRequest = z.strictObject({
  sessionId: z.string().max(64),
  secret: z.string().max(128),
  /** Output bytes received so far; null asks for all that is kept. */
  offset: offset.nullable(),
})
const size = z.strictObject({ columns, rows })

export type OpenRequest = z.infer<typeof openRequest>
export type ResumeRequest = z.infer<typeof resumeRequest>

export type ClientFrame =
  | { type: 'stdin'; bytes: Uint8Array }
  | { type: 'resize'; columns: number; rows: number }
  /** Output bytes consumed since the session began. */
  | { type: 'ack'; offset: number }
  | { type: 'close' }
  | ({ type: 'open' } & OpenRequest)
  | ({ type: 'resume' } & ResumeRequest)

export type Ready = {
  sessionId: string
  /** Opens the session again after a lost connection; sent once, at open. */
  secret?: string
  /** Where in the session's output the next output byte stands. */
  outputOffset: number
  /** Input bytes received so far: send on from here. */
  inputOffset: number
  /** Input bytes that the shell has taken: the window counts from here. */
  inputAcknowledged: number
  /** Unacknowledged bytes at which either side stops. */
  outputWindow: number
  inputWindow: number
  /** For how long the session outlives a lost connection. */
  resumeSeconds: number
}

export type ServerFrame =
  | { type: 'output'; stream: 'stdout' | 'stderr'; bytes: Uint8Array }
  /** Input bytes that the shell has taken. */
  | { type: 'ack'; offset: number }
  /** How the shell ended; both null when it was not by itself. */
  | { type: 'close'; code: number | null; signal: string | null }
  | {
      type: 'error'
      code: ErrorCode
      message: string
      retryable: boolean
      requestId: string
      [field: string]: unknown
    }
  | ({ type: 'ready' } & Ready)

/**
 * Reads one frame of a client.
 *
 * @throws {DomainError} BAD_INPUT that says what is wrong with it, and never repeats what was sent
 */
export function decodeClientFrame(frame: Uint8Array): ClientFrame {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
  const channel = bytes[0]
  const payload = bytes.subarray(1)
  switch (channel) {
    case CHANNEL.STDIN:
      return { type: 'stdin', bytes: payload }
    case CHANNEL.RESIZE:
      expectBytes('resize', payload, 4)
      return {
        type: 'resize',
        ...checked('resize', size, {
          columns: payload.readUInt16BE(0),
          rows: payload.readUInt16BE(2),
        }),
      }
    case CHANNEL.ACK:
      expectBytes('ack', payload, 8)
      return {
        type: 'ack',
        offset: checked('ack', offset, Number(payload.readBigUInt64BE())),
      }
    case CHANNEL.CLOSE:
      expectBytes('close', payload, 0)
      return { type: 'close' }
    case CHANNEL.OPEN:
      return { type: 'open', ...checked('open', openRequest, parseJson('open', payload)) }
    case CHANNEL.RESUME:
      return { type: 'resume', ...checked('resume', resumeRequest, parseJson('resume', payload)) }
    case undefined:
      throw refuse('A frame is empty: it begins with its channel')
    default:
      throw refuse(`Clients send nothing on channel ${channel}`)
  }
}

export function encodeServerFrame(frame: ServerFrame): Buffer {
  switch (frame.type) {
    case 'output': {
      const out = Buffer.allocUnsafe(1 + frame.bytes.length)
      out[0] = frame.stream === 'stdout' ? CHANNEL.STDOUT : CHANNEL.STDERR
      out.set(frame.bytes, 1)
      return out
    }
    case 'ack': {
      const out = Buffer.allocUnsafe(9)
      out[0] = CHANNEL.ACK
      out.writeBigUInt64BE(BigInt(frame.offset), 1)
      return out
    }
    case 'close':
      return jsonFrame(CHANNEL.CLOSE, frame)
    case 'error':
      return jsonFrame(CHANNEL.ERROR, frame)
    case 'ready':
      return jsonFrame(CHANNEL.READY, frame)
  }
}

function jsonFrame(channel: number, { type: _, ...content }: ServerFrame): Buffer {
  return Buffer.concat([Buffer.from([channel]), Buffer.from(JSON.stringify(content))])
}

function parseJson(name: string, payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch {
    throw refuse(`The payload of ${name} is not JSON`)
  }
}

function checked<S extends z.ZodType>(name: string, schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  // Names of unknown fields are the client's text, and may be anything.
  const fields = parsed.error.issues.map(({ code, path, message }) =>
    code === 'unrecognized_keys' ? 'unknown field' : `${path.join('.') || name}: ${message}`,
  )
  throw refuse(`The payload of ${name} is malformed (${fields.join('; ')})`)
}

function expectBytes(name: string, payload: Buffer, count: number): void {
  if (payload.length !== count) throw refuse(`The payload of ${name} has ${count} bytes`)
}

function refuse(message: string): DomainError {
  return new DomainError('BAD_INPUT', `${message}. See doc/terminal-protocol.md.`)
}
