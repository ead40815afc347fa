import { readFileSync } from 'node:fs'
import { ApolloGateway, RemoteGraphQLDataSource } from '@apollo/gateway'
import { ApolloServer, HeaderMap } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases'
import { maxDepthRule } from '@escape.tech/graphql-armor-max-depth'
import { GraphQLError } from 'graphql'
import { Histogram } from 'prom-client'
import { claimsOf } from './bearer.js'
import { configuration } from './configuration.js'

class Forwarding extends RemoteGraphQLDataSource {
  willSendRequest({ request, context }) {
    if (context.authorization) request.http.headers.set('authorization', context.authorization)
  }
}

const seconds = new Histogram({
  name: 'operation_seconds',
  help: 'Operations',
  labelNames: ['name'],
})
const metrics = {
  async requestDidStart() {
    const end = seconds.startTimer()
    return {
      async willSendResponse({ operationName }) {
        end({ name: operationName ?? '' })
      },
    }
  },
}

const gateway = new ApolloGateway({
  supergraphSdl: readFileSync(configuration.supergraph, 'utf8'),
  buildService: ({ url }) => new Forwarding({ url }),
})
const server = new ApolloServer({
  gateway,
  plugins: [metrics],
  maxRecursiveSelections: true,
  validationRules: [maxDepthRule({ n: 12 }), maxAliasesRule({ n: 30 })],
})
await startStandaloneServer(server, {
  listen: { port: configuration.port, host: '127.0.0.1' },
  async context({ req }) {
    const { authorization } = req.headers
    try {
      return { authorization, claims: await claimsOf(authorization) }
    } catch {
      const http = { status: 401, headers: new HeaderMap() }
      throw new GraphQLError('Unauthenticated', { extensions: { code: 'UNAUTHENTICATED', http } })
    }
  },
})
console.log('ready')
