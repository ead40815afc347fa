import { DomainError } from '@berth/platform/errors'
import type { HttpRequest } from '@berth/platform/http'
import { type DocumentNode, parse } from 'graphql'
import type { RequestParams } from 'graphql-sse'
import type { EventStream } from './event-stream.ts'
import type { Envelope, LiveOperation } from './live-operation.ts'
import type { Operations, Prepared } from './operations.ts'
import { MAX_ID_LENGTH } from './session.ts'

/** One request of graphql-sse's protocol, and the stream that it is about. */
export type Exchange = {
  readonly stream: EventStream
  /** Of the stream; null for one that carries one operation and has none. */
  readonly token: string | null
  /** Of the operation that is being admitted; '' for the one of a stream without a token. */
  id?: string
}

/** As the library takes it: it looks for the operation in the document, and then runs it. */
export type Runnable = {
  readonly document: DocumentNode
  readonly operationName: string | null
  readonly contextValue: Run
}

export type Run = { run(): LiveOperation }

/** With an operation in it, for the library to look at where there is none. */
const NOTHING = parse('{ __typename }')

/**
 * Admits the operations of event streams.
 *
 * @param limit of operations that are open at once on one stream
 */
export function createSseOperations(operations: Operations, limit: number) {
  return {
    /** Never throws: the library would keep the operation's id for ever. What is wrong is an answer. */
    async prepare(
      exchange: Exchange,
      request: HttpRequest,
      params: RequestParams,
    ): Promise<Runnable> {
      const { stream, token } = exchange
      const id = token === null ? '' : operationIdOf(params)
      exchange.id = id
      stream.preparing.set(id, exchange)
      const admitted = await admit(exchange, request, params).catch((error: unknown) => ({ error }))
      const contextValue = { run: () => start(exchange, request, admitted) }
      return 'error' in admitted
        ? { document: NOTHING, operationName: null, contextValue }
        : {
            document: admitted.document,
            operationName: params.operationName ?? null,
            contextValue,
          }
    },
    /** The request has been answered, whatever came of it. */
    settle(exchange: Exchange): void {
      const { stream, id } = exchange
      if (id !== undefined && stream.preparing.get(id) === exchange) stream.preparing.delete(id)
    },
  }

  async function admit(
    { stream, id = '' }: Exchange,
    request: HttpRequest,
    params: RequestParams,
  ): Promise<Prepared> {
    if (id.length > MAX_ID_LENGTH) {
      throw new DomainError('BAD_INPUT', `An id has at most ${MAX_ID_LENGTH} characters`)
    }
    if (Math.max(stream.operations.size + 1, stream.preparing.size) > limit) {
      throw new DomainError(
        'TOO_COMPLEX',
        `A connection has at most ${limit} operations open: complete one`,
      )
    }
    const { traceparent, headers } = request
    const key = headers['idempotency-key']
    const extensions = {
      ...params.extensions,
      ...(traceparent ? { traceparent } : {}),
      ...(typeof key === 'string' ? { idempotencyKey: key } : {}),
    }
    const prepared = await operations.prepare({ ...params, extensions }, stream.caller, request)
    if (request.method === 'GET' && prepared.definition.operation === 'mutation') {
      throw new DomainError('BAD_INPUT', 'Mutations are sent by POST')
    }
    return prepared
  }

  /** @throws {DomainError} CONFLICT when nobody waits for it any more */
  function start(
    exchange: Exchange,
    request: HttpRequest,
    admitted: Prepared | { error: unknown },
  ): LiveOperation {
    const { stream, id = '' } = exchange
    if (stream.preparing.get(id) !== exchange) {
      throw new DomainError('CONFLICT', 'The operation was completed before it began')
    }
    stream.preparing.delete(id)
    const envelope = envelopeOf(id, (error) =>
      JSON.stringify({ errors: operations.shown([error], request) }),
    )
    const operation = stream.operations.add(stream.caller.standing, stream.queue, envelope)
    try {
      if ('error' in admitted) throw admitted.error
      if (stream.isClosed) operation.letGo()
      else admitted.start(operation)
    } catch (error) {
      operations.refused(operations.shown([error], request))
      operation.end(error)
    }
    return operation
  }
}

function operationIdOf({ extensions }: RequestParams): string {
  const { operationId } = (extensions ?? {}) as { operationId?: unknown }
  return String(operationId ?? '')
}

function envelopeOf(id: string, errorText: (error: unknown) => string): Envelope {
  return id === ''
    ? { before: 'event: next\ndata: ', after: '\n\n', errorText }
    : {
        before: `event: next\ndata: {"id":${JSON.stringify(id)},"payload":`,
        after: '}\n\n',
        errorText,
      }
}
