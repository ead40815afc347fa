import { DomainError } from '@berth/platform/errors'
import type { HttpRequest } from '@berth/platform/http'

export const TOKEN_HEADER = 'x-graphql-event-stream-token'
/** Any of them makes a browser ask first, whichever page sends it. */
const PREFLIGHTED = ['apollo-require-preflight', 'x-apollo-operation-name', TOKEN_HEADER]
const JSON_TYPE = /^application\/json\s*(;|$)/i

/** A status of the protocol's, with a code of the closed list. */
export class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message, { cause: new DomainError(REFUSALS[status] ?? 'BAD_INPUT', message) })
    this.status = status
  }
}

const REFUSALS: Readonly<Record<number, 'NOT_FOUND' | 'CONFLICT' | 'INTERNAL'>> = {
  404: 'NOT_FOUND',
  409: 'CONFLICT',
  500: 'INTERNAL',
}

/**
 * What another page could send without a preflight is refused, as at `/graphql`. Whose page it is,
 * matters where a cookie says who asks, and is looked at with it.
 *
 * @throws {Refusal}
 */
export function checkPreflighted({ method, headers }: HttpRequest): void {
  if (method === 'POST' && !JSON_TYPE.test(headers['content-type'] ?? '')) {
    throw new Refusal(415, 'The body is application/json')
  }
  if (method === 'GET' && !PREFLIGHTED.some((it) => headers[it])) {
    throw new Refusal(400, `Send one of these headers with a GET: ${PREFLIGHTED.join(', ')}`)
  }
}

/** What the library has to say, out of the JSON that it says it in. */
export function messageOf(body: string | null): string {
  try {
    const { errors } = JSON.parse(body ?? '') as { errors: { message: string }[] }
    return errors[0]?.message ?? 'The request is malformed'
  } catch {
    return 'The request is malformed'
  }
}
