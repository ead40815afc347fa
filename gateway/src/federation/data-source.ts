import type { GraphQLDataSource } from '@apollo/gateway'
import type { GatewayContext } from '../context.ts'
import { unanswered, withKnownErrors } from './answers.ts'
import type { SubgraphClient } from './transport/subgraph-client.ts'

/**
 * A subgraph as the stock executor knows it. It does not reject: a subgraph that is down fails its
 * own fields, and each of them.
 */
export function createDataSource(service: string, client: SubgraphClient): GraphQLDataSource {
  return {
    async process({ request, context }) {
      const { query, variables, operationName } = request
      const isMutation = /^\s*mutation\b/.test(query ?? '')
      const body = JSON.stringify({ query, variables, operationName })
      try {
        const answer = await client.ask(body, isMutation, context as GatewayContext)
        return withKnownErrors(service, answer)
      } catch (error) {
        return unanswered(error, request)
      }
    },
  }
}
