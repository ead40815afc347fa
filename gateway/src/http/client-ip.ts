import type { IncomingMessage } from 'node:http'

/** The address of the connection: behind a proxy, the proxy's. */
export function clientIpOf({ socket }: IncomingMessage): string {
  return socket.remoteAddress ?? 'unknown'
}
