import { HeaderMap } from '@apollo/server'
import { DomainError, ERROR_CODES } from '@berth/platform/errors'
import { answerType } from '@berth/platform/graphql-accept'
import { type DocumentNode, GraphQLError, type OperationDefinitionNode } from 'graphql'
import type { Admit } from '../admit/admit.ts'
import { operationOf } from '../admit/documents.ts'
import type { GatewayContext } from '../context.ts'

/** What a request over HTTP asks to run, its document read and validated. */
export type Asked = {
  readonly document: DocumentNode
  readonly operationName: string | null | undefined
  readonly variables: Readonly<Record<string, unknown>>
  /** The header. */
  readonly accept: string | undefined
}

/**
 * The operation, once it may run: the same question behind every face over HTTP.
 *
 * @throws {DomainError} as `Admit`, BAD_INPUT for a subscription or when it is not clear which
 * operation is meant
 * @throws {NotAcceptable} when the client takes no answer that there could be
 */
export async function admitOverHttp(
  admit: Admit,
  { document, operationName, variables, accept }: Asked,
  context: GatewayContext,
): Promise<Admitted> {
  // Before it has effects that nobody is told of.
  if (answerType(accept) === null) throw new NotAcceptable()
  const definition = operationOf(document, operationName)
  if (definition.operation === 'subscription') {
    throw new DomainError('BAD_INPUT', SUBSCRIBE_ELSEWHERE)
  }
  const { idempotencyKey } = context
  const cost = await admit({ document, definition, variables, idempotencyKey }, context)
  return { definition, cost }
}

export type Admitted = {
  readonly definition: OperationDefinitionNode
  /** What it costs at most. */
  readonly cost: number
}

const SUBSCRIBE_ELSEWHERE =
  'Subscribe over WebSocket (graphql-transport-ws) here, or over server-sent events at /graphql/stream'

/** In the words of Apollo Server, which says it after it has run the operation. */
export class NotAcceptable extends DomainError {
  constructor() {
    super(
      'BAD_INPUT',
      "An 'accept' header was provided for this request which does not accept application/json; charset=utf-8 or application/graphql-response+json; charset=utf-8",
    )
  }
}

/** Of an answer that is errors and nothing else: nothing was run. */
export type Head = { readonly status: number; readonly headers: Readonly<Record<string, string>> }

/** graphql-js tells by its own errors what a client got wrong: the document, or its variables. */
export function headOf(errors: readonly unknown[]): Head {
  const own = errors.find((it) => it instanceof DomainError)
  if (own) return { status: statusOf(own), headers: headersOf(own) }
  const isOfClient = errors.length > 0 && errors.every((it) => it instanceof GraphQLError)
  return { status: ERROR_CODES[isOfClient ? 'BAD_INPUT' : 'INTERNAL'].http, headers: {} }
}

function statusOf(error: DomainError): number {
  return error instanceof NotAcceptable ? 406 : ERROR_CODES[error.code].http
}

function headersOf(error: DomainError): Record<string, string> {
  const { retryAfterSeconds } = error.extensions
  return typeof retryAfterSeconds === 'number' ? { 'retry-after': String(retryAfterSeconds) } : {}
}

/** The error as Apollo Server takes status and headers from it. */
export function withStatus(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  const { status, headers } = headOf([error])
  const http = { status, headers: new HeaderMap(Object.entries(headers)) }
  return new GraphQLError(error.message, {
    originalError: error,
    extensions: { http },
  })
}
