import type { Duplex } from 'node:stream'
import { DomainError, toHttp } from '@berth/platform/errors'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'

/** Answers a request to upgrade, as any route answers that speaks no GraphQL, and lets go of it. */
export function refuse(
  socket: Duplex,
  error: unknown,
  log: Log,
  more: Readonly<Record<string, string>> = {},
): void {
  // The HTTP server has let go of it: a reset would otherwise end the process.
  socket.on('error', () => socket.destroy())
  socket.once('finish', () => socket.destroy())
  const requestId = newUuid()
  if (!(error instanceof DomainError)) log.error({ err: error, requestId }, 'upgrade failed')
  const { status, headers, body } = toHttp(error, requestId)
  const text = JSON.stringify(body)
  const lines = Object.entries({
    ...more,
    ...headers,
    connection: 'close',
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(text)),
    'x-request-id': requestId,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${body.error.code}\r\n${lines.join('')}\r\n${text}`)
}
