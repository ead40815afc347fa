import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

export type Reader = {
  /** Sends a text message (RFC 6455, section 5.3: clients mask). */
  send(text: string): void
  /** No longer reads: the connection fills up. */
  stall(): void
  /** Reads again after `stall`. */
  resume(): void
  readonly closeCode: number | undefined
  readonly isOpen: boolean
  close(): void
}

const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

/**
 * A WebSocket client that does next to nothing, so that thousands in one process are not what is
 * measured: it finds the frames in what comes and hands over their bytes.
 *
 * @param localAddress of several, since one address may have only so many connections
 * @param onText the payload's bytes, valid until it returns
 * @throws {Error} when the server does not switch protocols
 */
export async function openReader(
  url: string,
  headers: Readonly<Record<string, string>>,
  localAddress: string,
  onText: (payload: Buffer, reader: Reader) => void,
): Promise<Reader> {
  const { hostname, port, pathname } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), localAddress, noDelay: true })
  let closeCode: number | undefined
  let isOpen = true
  let rest: Buffer | undefined
  const opened = Promise.withResolvers<void>()
  const reader: Reader = {
    send: (text) => write(socket, TEXT, Buffer.from(text)),
    stall: () => void socket.pause(),
    resume: () => void socket.resume(),
    get closeCode() {
      return closeCode
    },
    get isOpen() {
      return isOpen
    },
    close: () => void socket.destroy(),
  }
  socket.on('error', opened.reject)
  socket.on('close', () => {
    isOpen = false
    opened.reject(new Error('closed before it was open'))
  })
  socket.once('data', onUpgrade)
  const lines = Object.entries({
    host: `${hostname}:${port}`,
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': randomBytes(16).toString('base64'),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n`)
  await opened.promise
  return reader

  function onUpgrade(chunk: Buffer): void {
    const end = chunk.indexOf('\r\n\r\n')
    const head = chunk.toString('latin1', 0, end < 0 ? 200 : end)
    if (end < 0 || !head.startsWith('HTTP/1.1 101')) {
      opened.reject(new Error(`no WebSocket: ${head}`))
      socket.destroy()
      return
    }
    socket.on('data', read)
    opened.resolve()
    if (chunk.length > end + 4) read(chunk.subarray(end + 4))
  }

  function read(chunk: Buffer): void {
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (bytes.length - at >= 2) {
      let start = at + 2
      let length = (bytes[at + 1] ?? 0) & 127
      if (length === 126) {
        if (bytes.length - at < 4) break
        length = bytes.readUInt16BE(at + 2)
        start += 2
      } else if (length === 127) {
        if (bytes.length - at < 10) break
        length = Number(bytes.readBigUInt64BE(at + 2))
        start += 8
      }
      if (bytes.length < start + length) break
      frame((bytes[at] ?? 0) & 15, bytes.subarray(start, start + length))
      at = start + length
    }
    rest = at < bytes.length ? bytes.subarray(at) : undefined
  }

  function frame(opcode: number, payload: Buffer): void {
    if (opcode === TEXT) onText(payload, reader)
    else if (opcode === PING) write(socket, PONG, payload)
    else if (opcode === CLOSE) {
      closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005
      socket.destroy()
    }
  }
}

function write(socket: Socket, opcode: number, payload: Buffer): void {
  const isShort = payload.length < 126
  const frame = Buffer.alloc((isShort ? 6 : 8) + payload.length)
  frame[0] = 0x80 | opcode
  frame[1] = 0x80 | (isShort ? payload.length : 126)
  if (!isShort) frame.writeUInt16BE(payload.length, 2)
  payload.copy(frame, frame.length - payload.length) // Masked with zeros.
  socket.write(frame)
}
