import { ApolloServer, type ApolloServerPlugin, HeaderMap } from '@apollo/server'
import { DomainError, ERROR_CODES } from '@berth/platform/errors'
import { apolloDefaults } from '@berth/platform/graphql-http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { GraphQLError } from 'graphql'
import type { Admit } from '../admit/admit.ts'
import { type Documents, operationOf, PARSE_OPTIONS, tooComplexToRead } from '../admit/documents.ts'
import type { GatewayContext } from '../context.ts'
import type { Executor } from '../federation/executor.ts'

/** The HTTP face: Apollo Server, with our documents, our `admit` and our executor. */
export function createApolloServer({
  executor,
  documents,
  admit,
  hideSchema,
  log,
  metrics,
}: {
  executor: Executor
  documents: Documents
  admit: Admit
  hideSchema: boolean
  log: Log
  metrics: Metrics
}): ApolloServer<GatewayContext> {
  const defaults = apolloDefaults<GatewayContext>({ log, metrics })
  return new ApolloServer<GatewayContext>({
    ...defaults,
    gateway: executor.gateway,
    documentStore: documents.store,
    parseOptions: PARSE_OPTIONS,
    persistedQueries: false,
    // Who may see the schema depends on who asks, which `admit` knows and this option does not.
    introspection: true,
    hideSchemaDetailsFromClientErrors: hideSchema,
    formatError: (formatted, error) => {
      const isOfParsing = formatted.extensions?.code === 'GRAPHQL_PARSE_FAILED'
      return defaults.formatError(formatted, (isOfParsing && tooComplexToRead(formatted)) || error)
    },
    plugins: [...defaults.plugins, admitting(admit)],
  })
}

/** Asked once the operation is known: thrown earlier, its errors would be answered with 500. */
function admitting(admit: Admit): ApolloServerPlugin<GatewayContext> {
  return {
    requestDidStart: async () => ({
      async didResolveOperation({ document, request, contextValue }) {
        try {
          const definition = operationOf(document, request.operationName)
          if (definition.operation === 'subscription') {
            throw new DomainError(
              'BAD_INPUT',
              'Subscribe over WebSocket (graphql-transport-ws), here',
            )
          }
          const { idempotencyKey } = contextValue
          const variables = request.variables ?? {}
          await admit({ document, definition, variables, idempotencyKey }, contextValue)
        } catch (error) {
          throw withStatus(error)
        }
      },
    }),
  }
}

function withStatus(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  const { retryAfterSeconds } = error.extensions
  const headers = new HeaderMap()
  if (typeof retryAfterSeconds === 'number') headers.set('retry-after', String(retryAfterSeconds))
  return new GraphQLError(error.message, {
    originalError: error,
    extensions: { http: { status: ERROR_CODES[error.code].http, headers } },
  })
}
