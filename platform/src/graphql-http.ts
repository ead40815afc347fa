import { AsyncLocalStorage } from 'node:async_hooks'
import {
  type ApolloServer,
  type ApolloServerOptions,
  type ApolloServerPlugin,
  type BaseContext,
  type GraphQLRequestListener,
  HeaderMap,
  type HTTPGraphQLRequest,
  type HTTPGraphQLResponse,
} from '@apollo/server'
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginInlineTraceDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginSchemaReportingDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled'
import type { GraphQLFormattedError } from 'graphql'
import { DomainError, ERROR_CODES, isErrorCode, toGraphQLError, toHttp } from './errors.ts'
import { answerType } from './graphql-accept.ts'
import type { HttpHandler, HttpReply, HttpRequest } from './http.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

// Apollo's `formatError` is told the error and not the request it belongs to.
const current = new AsyncLocalStorage<{ requestId: string; log: Log }>()

/**
 * What may answer a request in Apollo Server's place.
 *
 * @param body parsed JSON; undefined when the request has none
 * @returns null for a request that is not for it
 */
export type GraphqlLane<C> = (
  body: unknown,
  context: C,
  request: HttpRequest,
) => Promise<GraphqlReply> | null

export type GraphqlReply = {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
  /** latin1: each character of the body is one byte of its UTF-8. */
  readonly encoding?: 'utf8' | 'latin1'
}

/**
 * Serves a started Apollo Server from a route of `startHttp`.
 *
 * @param contextOf makes a fresh context for each request; what it throws is answered with the
 * error's own status before anything is executed
 * @param lane asked first
 */
export function createGraphqlHandler<C extends BaseContext>(
  apollo: ApolloServer<C>,
  contextOf: (request: HttpRequest) => Promise<C> | C,
  lane?: GraphqlLane<C>,
): HttpHandler {
  return async (request, reply) => {
    try {
      const context = await contextOf(request)
      const body = await bodyOf(request)
      const answering = lane?.(body, context, request)
      if (answering) {
        const { status, headers, body: text, encoding } = await answering
        reply.send(status, text, headers, encoding)
        return
      }
      const response = await current.run(request, () =>
        apollo.executeHTTPGraphQLRequest({
          httpGraphQLRequest: graphqlRequestOf(request, body),
          context: () => Promise.resolve(context),
        }),
      )
      await send(response, reply)
    } catch (error) {
      if (reply.raw.headersSent) throw error
      refuse(error, request, reply)
    }
  }
}

/**
 * What every Apollo Server of ours is made with: errors through the one translator, no stack
 * traces, no landing page, nothing reported anywhere, and operations counted by type and code.
 */
export function apolloDefaults<C extends BaseContext>({
  log,
  metrics,
}: {
  log: Log
  metrics: Metrics
}) {
  return {
    formatError: (_formatted, error): GraphQLFormattedError =>
      toGraphQLError(error, current.getStore() ?? { requestId: 'unknown', log }).toJSON(),
    includeStacktraceInErrorResponses: false,
    csrfPrevention: true,
    allowBatchedHttpRequests: false,
    stopOnTerminationSignals: false,
    // Else it reads the environment by itself.
    nodeEnv: 'production',
    logger: log,
    plugins: [
      ApolloServerPluginLandingPageDisabled(),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginInlineTraceDisabled(),
      ApolloServerPluginSchemaReportingDisabled(),
      ApolloServerPluginUsageReportingDisabled(),
      countOperations<C>(metrics),
    ],
  } satisfies Omit<ApolloServerOptions<C>, 'schema'>
}

/** The counter of GraphQL operations by type and code, the same whatever carries them. */
export function operationCounter(metrics: Metrics) {
  return metrics.counter('berth_graphql_operations_total', 'GraphQL operations by type and code', [
    'type',
    'code',
  ])
}

/** OK, or the code of the first error. */
export function codeOfErrors(errors: readonly GraphQLFormattedError[] | undefined): string {
  const [first] = errors ?? []
  if (!first) return 'OK'
  const code = first.extensions?.code
  return isErrorCode(code) ? code : 'INTERNAL'
}

function countOperations<C extends BaseContext>(metrics: Metrics): ApolloServerPlugin<C> {
  const operations = operationCounter(metrics)
  const listener: GraphQLRequestListener<C> = {
    willSendResponse: async ({ operation, response }) => {
      const { body } = response
      const result = body.kind === 'single' ? body.singleResult : body.initialResult
      operations.inc({ type: operation?.operation ?? 'none', code: codeOfErrors(result.errors) })
    },
  }
  return { requestDidStart: async () => listener }
}

/** The headers that Apollo Server reads, and no others: of its own plugins none is on. */
const READ_HEADERS = ['content-type', 'x-apollo-operation-name', 'apollo-require-preflight']

function graphqlRequestOf(request: HttpRequest, body: unknown): HTTPGraphQLRequest {
  const headers = new HeaderMap()
  for (const name of READ_HEADERS) {
    const value = request.headers[name]
    if (typeof value === 'string') headers.set(name, value)
  }
  const { accept } = request.headers
  // Chosen here once for every way to say it. It need not choose where it would choose the same.
  if (accept !== undefined && answerType(accept) !== answerType(undefined)) {
    headers.set('accept', accept)
  }
  const at = request.raw.url?.indexOf('?') ?? -1
  const search = at < 0 ? '' : (request.raw.url as string).slice(at)
  return { method: request.method, headers, search, body }
}

/** Parsed when it says that it is JSON; Apollo refuses a body of any other kind. */
async function bodyOf(request: HttpRequest): Promise<unknown> {
  if (request.method !== 'POST' || !isJson(request.headers['content-type'])) return undefined
  const bytes = await request.body()
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    throw new DomainError('BAD_INPUT', 'The body is not JSON')
  }
}

function isJson(type = ''): boolean {
  return type === 'application/json' || /^application\/json\s*(;|$)/i.test(type)
}

function refuse(error: unknown, request: HttpRequest, reply: HttpReply): void {
  const translated = toGraphQLError(error, request).toJSON()
  const code = translated.extensions?.code
  const { http } = ERROR_CODES[isErrorCode(code) ? code : 'INTERNAL']
  reply.json(http, { errors: [translated] }, toHttp(error, request.requestId).headers)
}

async function send({ status, headers, body }: HTTPGraphQLResponse, reply: HttpReply) {
  const plain = Object.fromEntries(headers)
  if (body.kind === 'complete') {
    reply.send(status ?? 200, body.string, plain)
    return
  }
  reply.raw.writeHead(status ?? 200, plain)
  for await (const chunk of body.asyncIterator) reply.raw.write(chunk)
  reply.raw.end()
}
