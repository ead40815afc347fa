import {
  ApolloServer,
  type ApolloServerPlugin,
  type GraphQLRequestListener,
  HeaderMap,
} from '@apollo/server'
import { apolloDefaults } from '@berth/platform/graphql-http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { type DocumentNode, type FormattedExecutionResult, Kind } from 'graphql'
import type { Admit } from '../admit/admit.ts'
import type { ReadDocument } from '../admit/reading.ts'
import type { GatewayContext } from '../context.ts'
import { extensionsOf, JsonText, shownErrors, stringifyAnswer } from '../federation/answer-text.ts'
import type { Executor } from '../federation/executor.ts'
import type { ServedExecutor } from '../federation/graph-source.ts'
import { admitOverHttp, headOf, withStatus } from './admitted.ts'

/** The HTTP face: Apollo Server, which neither reads documents nor runs them: we do. */
export function createApolloServer({
  executor,
  readDocument,
  admit,
  log,
  metrics,
}: {
  executor: Pick<ServedExecutor, 'gateway' | 'execute'>
  readDocument: ReadDocument
  admit: Admit
  log: Log
  metrics: Metrics
}): ApolloServer<GatewayContext> {
  const defaults = apolloDefaults<GatewayContext>({ log, metrics })
  return new ApolloServer<GatewayContext>({
    ...defaults,
    gateway: executor.gateway,
    // It looks for no document where it has one.
    documentStore: null,
    persistedQueries: false,
    // Who may see the schema depends on who asks, which `admit` knows and this option does not.
    introspection: true,
    stringifyResult: stringifyAnswer,
    plugins: [...defaults.plugins, admitting(readDocument, admit), executing(executor)],
  })
}

type Listener = GraphQLRequestListener<GatewayContext>

/** In place of a document that was refused: Apollo Server finds no operation in it, and goes on. */
const REFUSED: DocumentNode = Object.freeze({ kind: Kind.DOCUMENT, definitions: [] })
const refusals = new WeakMap<GatewayContext, unknown>()
/** What operations cost whose clients want to know. */
const reported = new WeakMap<GatewayContext, number>()

/**
 * Reads the document before Apollo Server would, which would do it for whoever comes, and admits the
 * operation once it is known. Whatever is thrown before that, Apollo Server would answer with 500.
 */
function admitting(readDocument: ReadDocument, admit: Admit): ApolloServerPlugin<GatewayContext> {
  const listener: Listener = {
    async didResolveSource(request) {
      const { source, queryHash, contextValue } = request
      const found: { document?: DocumentNode } = request
      try {
        const document = readDocument(source, contextValue, queryHash)
        found.document = document instanceof Promise ? await document : document
      } catch (error) {
        found.document = REFUSED
        refusals.set(contextValue, error)
      }
    },
    async didResolveOperation({ document, request, contextValue }) {
      if (document === REFUSED) return
      try {
        const { operationName, variables = NONE, http } = request
        const accept = http?.headers.get('accept')
        const asked = { document, operationName, variables, accept }
        const { cost } = await admitOverHttp(admit, asked, contextValue)
        if (contextValue.reportsCost) reported.set(contextValue, cost)
      } catch (error) {
        throw withStatus(error)
      }
    },
  }
  return { requestDidStart: async () => listener }
}

/**
 * Answers in place of Apollo Server's way to a gateway's executor. That way makes an object with
 * accessors of its own for each request: V8 keeps each of them, and the whole answer with it, until
 * it collects what is old.
 */
function executing(executor: Pick<Executor, 'execute'>): ApolloServerPlugin<GatewayContext> {
  const listener: Listener = {
    async responseForOperation({ source, document, operation, request, contextValue }) {
      if (document === REFUSED) return refusal(refusals.get(contextValue), contextValue)
      try {
        const { dataText, errors } = await executor.execute({
          source,
          document,
          definition: operation,
          operationName: request.operationName ?? null,
          variables: request.variables ?? NONE,
          context: contextValue,
        })
        if (dataText === undefined) return refusal(new AggregateError(errors), contextValue)
        const data = new JsonText(dataText) as never
        const cost = reported.get(contextValue)
        const extensions = cost === undefined ? undefined : extensionsOf(cost, contextValue)
        const result = extensions ? { data, extensions } : { data }
        if (errors.length === 0) return { http: AS_IT_IS, body: single(result) }
        const shown = shownErrors(errors, contextValue)
        return { http: AS_IT_IS, body: single({ ...result, errors: shown }) }
      } catch (error) {
        return refusal(error, contextValue)
      }
    },
  }
  return { requestDidStart: async () => listener }
}

const NONE: Readonly<Record<string, unknown>> = Object.freeze({})
const NO_HEADERS = new HeaderMap()
/** What Apollo Server has for the status and headers stays. It only reads this. */
const AS_IT_IS = Object.freeze({ headers: NO_HEADERS })

function refusal(error: unknown, context: GatewayContext) {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error]
  const { status, headers } = headOf(errors)
  const http = { status, headers: new HeaderMap(Object.entries(headers)) }
  return { http, body: single({ errors: shownErrors(errors, context) }) }
}

function single(singleResult: FormattedExecutionResult) {
  return { kind: 'single' as const, singleResult }
}
