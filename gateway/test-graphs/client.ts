import { hash } from 'node:crypto'
import { toGraphQLError } from '@berth/platform/errors'
import { execute, type GraphQLSchema, parse, validate } from 'graphql'
import type { GatewayContext } from '../src/context.ts'
import { parseAnswer } from '../src/federation/transport/parse-answer.ts'
import type {
  SubgraphClient,
  SubgraphClients,
} from '../src/federation/transport/subgraph-client.ts'
import { NOT_AN_INT, type OpenGraph, type State, WRONG_INT } from './graph.ts'
import { spoiled } from './spoil.ts'

/** The context of one execution here: beside what the gateway knows, the state behind the subgraphs. */
export type TestContext = GatewayContext & { readonly state: State }

/**
 * Subgraphs in this process. They get and give JSON text, and refuse a document that is not valid.
 *
 * @param isParsed every answer is, also one that could be taken as text
 */
export function createClients(
  { subgraphs }: OpenGraph,
  { isParsed = false }: { isParsed?: boolean } = {},
): SubgraphClients {
  return Object.fromEntries(
    Object.entries(subgraphs).map(([name, schema]) => [name, createClient(name, schema, isParsed)]),
  )
}

function createClient(name: string, schema: GraphQLSchema, isParsed: boolean): SubgraphClient {
  const documents = new Map<string, ReturnType<typeof parse>>()

  return {
    async ask(body, _isMutation, context, take) {
      const { query, variables, operationName } = JSON.parse(body)
      const { state } = context as TestContext
      state.asks.push(`${name}: ${body}`)
      // Answers come back in another order than they were asked for.
      const ticks = (state.asks.length * state.pace) % 7
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve()
      const result = await execute({
        schema,
        document: documentOf(query),
        variableValues: variables,
        operationName,
        contextValue: state,
      })
      const text = JSON.stringify({
        ...result,
        ...(result.errors ? { errors: result.errors.map((it) => toGraphQLError(it, QUIET)) } : {}),
      })
      const answer = text.includes(String(WRONG_INT))
        ? text.replaceAll(String(WRONG_INT), JSON.stringify(NOT_AN_INT))
        : text
      const bytes =
        state.spoiledBy === undefined
          ? Buffer.from(answer)
          : spoiled(answer, hash32(`${state.spoiledBy} ${name} ${body}`))
      if (!isParsed && take?.(bytes)) return { taken: bytes }
      return parseAnswer(name, 200, bytes.toString('utf8'))
    },
  }

  function documentOf(query: string) {
    const kept = documents.get(query)
    if (kept) return kept
    const document = parse(query, { noLocation: true })
    const [error] = validate(schema, document)
    if (error)
      throw new TypeError(`${name} was asked what is not valid: ${error.message}: ${query}`)
    documents.set(query, document)
    return document
  }
}

function hash32(text: string): number {
  return Number.parseInt(hash('sha256', text).slice(0, 8), 16)
}

export const QUIET = { requestId: 'test', log: { error: () => undefined } } as const
