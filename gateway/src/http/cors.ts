import type { HttpHandler } from '@berth/platform/http'

const REQUEST_HEADERS = [
  'authorization',
  'content-type',
  'berth-cost',
  'berth-csrf',
  'berth-organization',
  'idempotency-key',
  'traceparent',
  'x-request-id',
  'apollo-require-preflight',
  'x-apollo-operation-name',
  'x-graphql-event-stream-token',
]
const REPLY_HEADERS = ['x-request-id', 'retry-after']
const PREFLIGHT_SECONDS = 600

/** Lets pages of these origins, and no others, read what a route answers. */
export function withCors(origins: readonly string[], handler: HttpHandler): HttpHandler {
  return (request, reply) => {
    const { origin } = request.headers
    // A cache must not give one page what was meant for another.
    reply.raw.setHeader('vary', 'Origin')
    if (origin !== undefined && origins.includes(origin)) {
      reply.raw.setHeader('access-control-allow-origin', origin)
      reply.raw.setHeader('access-control-allow-credentials', 'true')
      reply.raw.setHeader('access-control-expose-headers', REPLY_HEADERS.join(', '))
    }
    return handler(request, reply)
  }
}

/** As `createPreflight`, where no headers are forwarded. */
export const preflight = createPreflight([])

/**
 * Answers a preflight. An origin that is not allowed gets the same answer without permission.
 *
 * @param forwardedHeaders that a page may send as well, in lower case
 */
export function createPreflight(forwardedHeaders: readonly string[]): HttpHandler {
  const allowed = [...new Set([...REQUEST_HEADERS, ...forwardedHeaders])].join(', ')
  return (_request, reply) => {
    reply.raw.setHeader('access-control-allow-methods', 'GET, POST, PUT, DELETE')
    reply.raw.setHeader('access-control-allow-headers', allowed)
    reply.raw.setHeader('access-control-max-age', String(PREFLIGHT_SECONDS))
    reply.raw.writeHead(204).end()
  }
}
