import { createServer } from 'node:http'
import {
  createGatewayRuntime,
  createInlineSigningKeyProvider,
  getBuiltinPluginsFromConfig,
  Logger,
} from '@graphql-hive/gateway'
import { configuration } from './configuration.js'

const { port, supergraph, pem, issuer, audience, planner, dedup } = configuration
const log = new Logger({ level: 'error' })
// Its token limit is left off, in its favour: it would parse each document again.
const builtIn = {
  jwt: {
    signingKeyProviders: [createInlineSigningKeyProvider(pem)],
    tokenVerification: { issuer, audience, algorithms: ['RS256'] },
    reject: { missingToken: true, invalidToken: true },
  },
  prometheus: {
    metrics: { graphql_gateway_fetch_duration: true, graphql_yoga_http_duration: true },
  },
  maxDepth: 12,
}
const plugins = await getBuiltinPluginsFromConfig(builtIn, { log })
const { unifiedGraphHandler } =
  planner === 'rust' ? await import('@graphql-hive/router-runtime') : {}
const runtime = createGatewayRuntime({
  supergraph,
  logging: log,
  plugins: () => plugins,
  propagateHeaders: {
    fromClientToSubgraphs: ({ request }) => ({
      authorization: request.headers.get('authorization') ?? '',
    }),
  },
  inboundInflightRequestDeduplication: dedup && {
    shouldIncludeHeader: (name) => name === 'authorization',
  },
  ...(unifiedGraphHandler && { unifiedGraphHandler }),
})
const server = createServer((request, response) => void runtime(request, response))
server.listen(port, '127.0.0.1', () => console.log('ready'))
