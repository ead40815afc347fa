import { readFileSync } from 'node:fs'
import type { HttpServer } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { createAdmit } from '../admit/admit.ts'
import { buildGraph } from '../federation/graph.ts'
import { page } from '../http/page.ts'
import { NO_TRUSTED_DOCUMENTS, readTrustedDocuments } from '../http/trusted-documents.ts'
import { serveGraph } from '../serve.ts'
import { createCallers } from './callers.ts'
import { createForwarding } from './forwarded.ts'
import { type Options, UsageError } from './options.ts'
import { createSubgraphs } from './subgraphs.ts'

/** The gateway for any supergraph: nothing of the platform is needed. */
export async function openStandalone(
  scope: AsyncDisposableStack,
  { options, log, metrics }: { options: Options; log: Log; metrics: Metrics },
): Promise<HttpServer> {
  const { supergraph: file, isProduction, sharesByHeaders, trustedDocuments } = options
  const graph = buildGraph(read(file))
  const trusted = trustedDocuments
    ? readTrustedDocuments(trustedDocuments, graph.schema)
    : NO_TRUSTED_DOCUMENTS
  const callers = createCallers(options.authentication, log)
  const subgraphs = scope.adopt(createSubgraphs(options, { log, metrics }), (it) => it.close())
  const forwarded = createForwarding(options.forwardedHeaders, { isShared: sharesByHeaders })

  return serveGraph(scope, {
    graph,
    file,
    trusted,
    clientsOf: subgraphs.clientsOf,
    upstreams: subgraphs.upstreams,
    // What may be shared is in the key of the forwarded headers.
    authorityOf: () => () => (sharesByHeaders ? 'PUBLIC' : 'PERSON'),
    authenticate: callers.authenticate,
    standings: callers.standings,
    credentialsFor: (headers) => {
      const credentials = forwarded(headers)
      return () => credentials
    },
    admit: createAdmit({
      // How often one may ask is for whoever stands before it to say.
      rates: { take: async () => {} },
      introspection: isProduction ? 'operators' : 'everyone',
    }),
    hideSchema: isProduction,
    allowedOrigins: options.allowedOrigins,
    durableStreams: options.durableStreams,
    routes: { 'GET /': page },
    ready: () => (options.authentication ? { keys: callers.ready } : {}),
    host: options.host,
    port: options.port,
    drainSeconds: options.drainSeconds,
    log,
    metrics,
  })
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`--supergraph ${file}: ${error instanceof Error ? error.message : error}`)
  }
}
