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
): Promise<OperationDefinitionNode> {
  // Before it has effects that nobody is told of.
  if (answerType(accept) === null) throw new NotAcceptable()
  const definition = operationOf(document, operationName)
  if (definition.operation === 'subscription') {
    throw new DomainError('BAD_INPUT', SUBSCRIBE_ELSEWHERE)
  }
  const { idempotencyKey } = context
  await admit({ document, definition, variables, idempotencyKey }, context)
  return definition
}

const SUBSCRIBE_ELSEWHERE = 'Subscribe over WebSocket (graphql-transport-ws), here'

/** In the words of Apollo Server, which says it after it has run the operation. */
export class NotAcceptable extends DomainError {
  constructor() {
    super(
      'BAD_INPUT',
      "An 'accept' header was provided for this request which does not accept application/json; charset=utf-8 or application/graphql-response+json; charset=utf-8",
    )
  }
}

/** Of an answer that is this error, or these, and nothing else. */
export function statusOf(error: unknown): number {
  if (error instanceof NotAcceptable) return 406
  // Those of a document that is not valid.
  if (error instanceof AggregateError) return ERROR_CODES.BAD_INPUT.http
  return ERROR_CODES[error instanceof DomainError ? error.code : 'INTERNAL'].http
}

export function headersOf(error: unknown): Record<string, string> {
  if (!(error instanceof DomainError)) return {}
  const { retryAfterSeconds } = error.extensions
  return typeof retryAfterSeconds === 'number' ? { 'retry-after': String(retryAfterSeconds) } : {}
}

/** The error as Apollo Server takes status and headers from it. */
export function withStatus(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  const headers = new HeaderMap(Object.entries(headersOf(error)))
  return new GraphQLError(error.message, {
    originalError: error,
    extensions: { http: { status: statusOf(error), headers } },
  })
}
