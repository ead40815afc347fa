import { ApolloServer, type ApolloServerPlugin } from '@apollo/server'
import { apolloDefaults } from '@berth/platform/graphql-http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import type { Admit } from '../admit/admit.ts'
import { type Documents, explained, PARSE_OPTIONS, tooComplexToRead } from '../admit/documents.ts'
import type { GatewayContext } from '../context.ts'
import { stringifyAnswer } from '../federation/answer-text.ts'
import type { Executor } from '../federation/executor.ts'
import { admitOverHttp, withStatus } from './admitted.ts'

/** The HTTP face: Apollo Server, with our documents, our `admit` and our executor. */
export function createApolloServer({
  executor,
  documents,
  admit,
  hideSchema,
  log,
  metrics,
}: {
  executor: Pick<Executor, 'gateway'>
  documents: Pick<Documents, 'store'>
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
    stringifyResult: stringifyAnswer,
    formatError: (formatted, error) => defaults.formatError(formatted, clearer(formatted, error)),
    plugins: [...defaults.plugins, admitting(admit)],
  })
}

/** Asked once the operation is known: thrown earlier, its errors would be answered with 500. */
function admitting(admit: Admit): ApolloServerPlugin<GatewayContext> {
  return {
    requestDidStart: async () => ({
      async didResolveOperation({ document, request, contextValue }) {
        try {
          const { operationName, variables = {}, http } = request
          const accept = http?.headers.get('accept')
          await admitOverHttp(admit, { document, operationName, variables, accept }, contextValue)
        } catch (error) {
          throw withStatus(error)
        }
      },
    }),
  }
}

/** What Apollo Server has found by itself, as it is said here. */
function clearer({ message, extensions }: GraphQLFormattedError, error: unknown): unknown {
  switch (extensions?.code) {
    case 'GRAPHQL_PARSE_FAILED':
      return tooComplexToRead({ message }) ?? error
    case 'GRAPHQL_VALIDATION_FAILED':
      return error instanceof GraphQLError ? explained(error) : error
    default:
      return error
  }
}
