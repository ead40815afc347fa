import { DomainError } from '@berth/platform/errors'
import { type AnswerType, answerType } from '@berth/platform/graphql-accept'
import {
  codeOfErrors,
  type GraphqlLane,
  type GraphqlReply,
  operationCounter,
} from '@berth/platform/graphql-http'
import type { Metrics } from '@berth/platform/metrics'
import type { DocumentNode, GraphQLFormattedError } from 'graphql'
import type { Admit } from '../admit/admit.ts'
import type { GatewayContext } from '../context.ts'
import {
  type AnswerExtensions,
  extensionsOf,
  JsonText,
  shownErrors,
  stringifyAnswer,
  textOf,
} from '../federation/answer-text.ts'
import type { GraphSource } from '../federation/graph-source.ts'
import { admitOverHttp, headOf, NotAcceptable } from './admitted.ts'

/**
 * A leaner way for operations whose document is registered: nothing is parsed, validated, hashed or
 * looked up by its text, and nothing lies between `admit` and the executor. The answer is that of
 * Apollo Server for the same operation: its status, headers and body.
 *
 * @returns null for requests that name no document by its hash: those are Apollo Server's
 */
export function createLane({
  source,
  admit,
  metrics,
}: {
  source: GraphSource
  admit: Admit
  metrics: Metrics
}): GraphqlLane<GatewayContext> {
  const operations = operationCounter(metrics)
  // Without any, a hash is not asked for here.
  const isUsed = source.current.trusted.size > 0

  return (body, context, { method, headers: { accept } }) => {
    if (!isUsed || method !== 'POST') return null
    const named = namedBy(body)
    return named ? answer(named, context, accept) : null
  }

  async function answer(
    { hash, operationName, variables }: Named,
    context: GatewayContext,
    accept: string | undefined,
  ): Promise<GraphqlReply> {
    const type = answerType(accept)
    if (type === null) return refusal(new NotAcceptable(), context, undefined)
    try {
      const document = opened(hash)
      const asked = { document, operationName, variables, accept }
      const { definition, cost } = await admitOverHttp(admit, asked, context)
      const executed = await source.executor.execute({
        source: document.loc?.source.body ?? '',
        document,
        definition,
        operationName: operationName ?? null,
        variables,
        context,
      })
      const { dataBytes, errors } = executed
      if (errors.length === 0) operations.inc(SUCCEEDED[definition.operation])
      if (dataBytes !== undefined) {
        const body = context.reportsCost
          ? textOf({ dataText: dataBytes, errors }, context, extensionsOf(cost, context))
          : `{"data":${dataBytes}}`
        return { status: 200, headers: HEADERS[type], body, encoding: 'latin1' }
      }
      const { dataText } = executed
      if (errors.length === 0) {
        const body = textOf(executed, context, extensionsOf(cost, context))
        return { status: 200, headers: HEADERS[type], body }
      }
      const shown = shownErrors(errors, context)
      operations.inc({ type: definition.operation, code: codeOfErrors(shown) })
      const body = bodyOf(shown, dataText, extensionsOf(cost, context))
      if (dataText !== undefined) return { status: 200, headers: HEADERS[type], body }
      const { status, headers } = headOf(errors)
      return { status, headers: { ...HEADERS[type], ...headers }, body }
    } catch (error) {
      return refusal(error, context, type)
    }
  }

  function opened(hash: string): DocumentNode {
    const document = source.trusted(hash)
    if (document instanceof Error) throw document
    if (document) return document
    throw new DomainError(
      'PERSISTED_QUERY_NOT_FOUND',
      'No document of this hash is registered here: register it, or send its text',
    )
  }

  function refusal(
    error: unknown,
    context: GatewayContext,
    type: AnswerType = 'application/json; charset=utf-8',
  ): GraphqlReply {
    const all: readonly unknown[] = error instanceof AggregateError ? error.errors : [error]
    const errors = shownErrors(all, context)
    operations.inc({ type: 'none', code: codeOfErrors(errors) })
    const { status, headers } = headOf(all)
    const body = bodyOf(errors, undefined)
    return { status, headers: { ...HEADERS[type], ...headers }, body }
  }
}

const HEADERS: Record<AnswerType, Record<string, string>> = Object.freeze({
  'application/json; charset=utf-8': headersFor('application/json; charset=utf-8'),
  'application/graphql-response+json; charset=utf-8': headersFor(
    'application/graphql-response+json; charset=utf-8',
  ),
  'application/json; callbackSpec=1.0; charset=utf-8': headersFor(
    'application/json; callbackSpec=1.0; charset=utf-8',
  ),
})

function headersFor(type: AnswerType): Record<string, string> {
  return Object.freeze({ 'content-type': type })
}

const SUCCEEDED = Object.freeze({
  query: { type: 'query', code: 'OK' },
  mutation: { type: 'mutation', code: 'OK' },
  subscription: { type: 'subscription', code: 'OK' },
} as const)

function bodyOf(
  errors: readonly GraphQLFormattedError[],
  dataText: string | undefined,
  extensions?: AnswerExtensions,
): string {
  if (dataText === undefined) return JSON.stringify({ errors })
  const data = new JsonText(dataText) as never
  return stringifyAnswer({ errors, data, ...(extensions ? { extensions } : {}) })
}

type Named = {
  readonly hash: string
  readonly operationName: string | null | undefined
  readonly variables: Readonly<Record<string, unknown>>
}

const NO_VARIABLES: Readonly<Record<string, unknown>> = Object.freeze({})

/**
 * The document that a request names instead of sending it: by `documentId` (GraphQL over HTTP,
 * appendix on persisted documents) or as Apollo's clients do. Null for any other request, and for
 * one that is malformed, which Apollo Server refuses.
 */
function namedBy(body: unknown): Named | null {
  if (!isRecord(body) || (body.query !== undefined && body.query !== null)) return null
  const { variables, operationName, extensions, documentId } = body
  if (!isRecordOrNothing(variables) || !isRecordOrNothing(extensions)) return null
  if (!(operationName === undefined || operationName === null || isText(operationName))) return null
  const hash = isText(documentId)
    ? documentId.replace(/^sha256:/, '')
    : hashIn(extensions?.persistedQuery)
  return hash === null ? null : { hash, operationName, variables: variables ?? NO_VARIABLES }
}

function hashIn(persistedQuery: unknown): string | null {
  if (!isRecord(persistedQuery)) return null
  const { sha256Hash } = persistedQuery
  return isText(sha256Hash) ? sha256Hash : null
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isRecordOrNothing(value: unknown): value is Record<string, unknown> | null | undefined {
  return value === undefined || value === null || isRecord(value)
}
