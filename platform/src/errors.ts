import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import type { Log } from './log.ts'
import { isOutage } from './outage.ts'

type Meaning = {
  /** Status of an HTTP response that is this error and nothing else. */
  readonly http: number
  /** WebSocket close code when this error ends the connection. */
  readonly close: number
  /** Whether the same request, unchanged, may succeed later. */
  readonly retryable: boolean
  readonly meaning: string
}

/**
 * The closed list of error codes; `doc/errors.md` is rendered from it. Close codes keep clear of
 * those that graphql-ws gives another meaning (4408, 4409, 4429, 4499).
 */
export const ERROR_CODES = {
  BAD_INPUT: code(400, 4400, false, 'The request or one of its values is malformed.'),
  BAD_TARGET: code(422, 4422, false, 'The address may not be dialled from here.'),
  UNAUTHENTICATED: code(401, 4401, false, 'There is no valid credential: sign in, or renew it.'),
  FORBIDDEN: code(403, 4403, false, 'The caller is known, and may not do this.'),
  NOT_FOUND: code(404, 4404, false, 'It does not exist, or is not the caller’s to see.'),
  CONFLICT: code(
    409,
    4410,
    false,
    'Its state does not allow this now: read it again, then decide.',
  ),
  IDEMPOTENCY_MISMATCH: code(
    422,
    4411,
    false,
    'This idempotency key was used for another request: use a new key.',
  ),
  IDEMPOTENCY_IN_FLIGHT: code(
    409,
    4412,
    true,
    'The first request with this idempotency key is still running: repeat it.',
  ),
  TOO_LARGE: code(413, 1009, false, 'The request body or message exceeds the limit.'),
  SLOW_CLIENT: code(503, 4413, true, 'The client read too slowly: connect again and resume.'),
  NO_CAPACITY: code(409, 4414, true, 'No GPU that fits is free now.'),
  QUOTA_EXCEEDED: code(
    403,
    4415,
    false,
    'The quota is used up: release something or ask for more.',
  ),
  INSUFFICIENT_CREDIT: code(402, 4416, false, 'The balance does not cover this: add credit.'),
  RATE_LIMITED: code(429, 4417, true, 'Too many requests: wait `retryAfterSeconds`.'),
  TOO_COMPLEX: code(400, 4418, false, 'The operation exceeds a depth, size or cost limit.'),
  DOCUMENT_NOT_TRUSTED: code(403, 4419, false, 'Only registered documents may be run here.'),
  PERSISTED_QUERY_NOT_FOUND: code(
    400,
    4421,
    true,
    'The hash is unknown: send the document together with its hash.',
  ),
  STREAM_RESET: code(
    410,
    4420,
    false,
    'The cursor is older than what is kept: read the state anew and subscribe without it.',
  ),
  UPSTREAM_UNAVAILABLE: code(502, 4502, true, 'A service that this needs does not answer.'),
  UNAVAILABLE: code(503, 4503, true, 'The service cannot answer now.'),
  TIMEOUT: code(504, 4504, true, 'It took too long; its outcome is unknown.'),
  INTERNAL: code(500, 4500, true, 'A fault on our side; quote the request id if it persists.'),
} as const

export type ErrorCode = keyof typeof ERROR_CODES

export type DomainErrorOptions = {
  cause?: unknown
  retryAfterSeconds?: number
  /** Any further field is shown to the client: ids and small facts only. */
  [safeField: string]: unknown
}

/** An expected failure: a code of the closed list, and a message that says what to do next. */
export class DomainError extends Error {
  override readonly name = 'DomainError'
  readonly code: ErrorCode
  /** What clients see beside code, request id and `retryable`. */
  readonly extensions: Readonly<Record<string, unknown>>

  constructor(errorCode: ErrorCode, message: string, options: DomainErrorOptions = {}) {
    const { cause, ...fields } = options
    super(message, cause === undefined ? undefined : { cause })
    this.code = errorCode
    this.extensions = Object.freeze(fields)
  }
}

/**
 * An error of a service whose errors its clients are to see as they are, whatever codes it uses:
 * nothing is masked and nothing added.
 */
export class ForeignError extends Error {
  override readonly name = 'ForeignError'
  readonly path: readonly (string | number)[] | undefined
  /** Its `extensions`, and not under that name: servers in between would act upon them. */
  readonly fields: Readonly<Record<string, unknown>> | undefined

  constructor({ message, path, extensions }: Omit<GraphQLFormattedError, 'locations'>) {
    super(message)
    this.path = path
    this.fields = extensions
  }
}

/**
 * The one translator of anything thrown to what a GraphQL client sees: a `DomainError` keeps its
 * code and message, a malformed document or variable is BAD_INPUT, all else is logged with its
 * cause and masked as INTERNAL. Path and locations are kept.
 */
export function toGraphQLError(
  error: unknown,
  { requestId, log }: { requestId: string; log: Pick<Log, 'error'> },
): GraphQLError {
  const root = rootOf(error)
  if (root instanceof ForeignError) {
    const path = pathOf(error) ?? root.path ?? null
    return new GraphQLError(root.message, { path, extensions: root.fields ?? null })
  }
  const known = knownError(error)
  if (!known || known.code === 'INTERNAL') {
    log.error({ err: root, requestId, path: pathOf(error)?.join('.') }, 'unexpected error')
  } else if (known !== root && isOutage(root)) {
    log.error({ reason: (root as Error).message, requestId }, 'a server that this needs is away')
  }
  const { message, extensions } = describe(known, requestId)
  const located = locatedOf(error)
  return new GraphQLError(message, {
    nodes: located?.nodes ?? null,
    source: located?.source ?? null,
    positions: located?.positions ?? null,
    path: located?.path ?? null,
    extensions,
  })
}

export type HttpError = {
  status: number
  headers: Record<string, string>
  body: {
    error: { code: ErrorCode; message: string; requestId: string; retryable: boolean } & Record<
      string,
      unknown
    >
  }
}

/** What a route that speaks no GraphQL answers. The caller logs what `isExpected` denies. */
export function toHttp(error: unknown, requestId: string): HttpError {
  const { message, extensions } = describe(knownError(error), requestId)
  const { retryAfterSeconds } = extensions
  return {
    status: ERROR_CODES[extensions.code].http,
    headers:
      typeof retryAfterSeconds === 'number'
        ? { 'retry-after': String(Math.ceil(retryAfterSeconds)) }
        : {},
    body: { error: { message, ...extensions } },
  }
}

/** Whether the error is one of the list, as opposed to a fault that must be logged with its cause. */
export function isExpected(error: unknown): boolean {
  const known = knownError(error)
  return known !== null && known.code !== 'INTERNAL'
}

export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(ERROR_CODES, text)
}

function code(http: number, close: number, retryable: boolean, meaning: string): Meaning {
  return Object.freeze({ http, close, retryable, meaning })
}

function describe(known: DomainError | null, requestId: string) {
  const errorCode = known?.code ?? 'INTERNAL'
  const { retryable } = ERROR_CODES[errorCode]
  const fields = errorCode === 'INTERNAL' ? {} : known?.extensions
  const message =
    known && errorCode !== 'INTERNAL'
      ? known.message
      : `Something went wrong on our side. Retry, and quote request ${requestId} if it persists.`
  const extensions: { code: ErrorCode; requestId: string; retryable: boolean } & Record<
    string,
    unknown
  > = { ...fields, code: errorCode, requestId, retryable }
  return { message, extensions }
}

function knownError(error: unknown): DomainError | null {
  const root = rootOf(error)
  if (root instanceof DomainError) return root
  if (!(root instanceof GraphQLError)) return isOutage(root) ? away(root) : null
  const { code: given } = root.extensions
  if (isErrorCode(given)) {
    const { retryAfterSeconds } = root.extensions
    return new DomainError(
      given,
      root.message,
      typeof retryAfterSeconds === 'number' ? { retryAfterSeconds } : {},
    )
  }
  return isClientMistake(error, root) ? new DomainError('BAD_INPUT', root.message) : null
}

function away(cause: unknown): DomainError {
  return new DomainError('UNAVAILABLE', 'A server that this needs is away: try again shortly', {
    cause,
    retryAfterSeconds: 2,
  })
}

/**
 * graphql-js reports what a client got wrong without a path, but for arguments, which it coerces
 * during execution; any other error of its own with a path is a result that breaks the schema.
 */
function isClientMistake(error: unknown, root: GraphQLError): boolean {
  return pathOf(error) === undefined || root.message.startsWith('Argument "')
}

function pathOf(error: unknown): readonly (string | number)[] | undefined {
  return locatedOf(error)?.path
}

/**
 * Down to what was thrown. A coercion error stays as it is: it wraps a scalar's own error and yet
 * has the words for the client. It has no path but the place in the document, unlike the wrappers
 * that servers put around what broke outside execution.
 */
function rootOf(error: unknown): unknown {
  let root = error
  while (root instanceof GraphQLError && root.originalError) {
    const isCoercion = root.path === undefined && root.nodes !== undefined
    if (isCoercion && !(root.originalError instanceof DomainError)) break
    root = root.originalError
  }
  return root
}

/** The outermost that knows its place. */
function locatedOf(error: unknown): GraphQLError | undefined {
  let located = error
  while (located instanceof GraphQLError && !located.path && !located.nodes) {
    if (!(located.originalError instanceof GraphQLError)) break
    located = located.originalError
  }
  return located instanceof GraphQLError ? located : undefined
}
