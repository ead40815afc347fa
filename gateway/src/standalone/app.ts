import { readFileSync } from 'node:fs'
import { createClientAddress } from '@berth/platform/client-address'
import type { HttpServer } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { createAdmit } from '../admit/admit.ts'
import { createCosts } from '../admit/costs.ts'
import { NO_RATES } from '../admit/rates.ts'
import { NO_TRUSTED_DOCUMENTS, readTrustedDocuments } from '../admit/trusted-documents.ts'
import { buildGraph } from '../federation/graph.ts'
import { neutralPage } from '../http/page.ts'
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
  const {
    supergraph: file,
    isProduction,
    sharesByHeaders,
    trustedDocuments,
    trustedProxies,
  } = options
  const graph = buildGraph(read(file))
  refuseUnknown('--subgraph', options.subgraphs, graph.subgraphs)
  refuseUnknown('--subscription-url', options.subscriptionUrls, graph.subgraphs)
  const trusted = trustedDocuments
    ? readTrustedDocuments(trustedDocuments, graph.schema)
    : NO_TRUSTED_DOCUMENTS
  const clientAddress = createClientAddress({
    trustedProxies,
    isProduction,
    setting: '--trusted-proxy',
  })
  const costs = createCosts()
  const callers = createCallers(options.authentication, { log, metrics })
  const subgraphs = scope.adopt(createSubgraphs(options, { log, metrics }), (it) => it.close())
  const forwarded = createForwarding(options.forwardedHeaders, { isShared: sharesByHeaders })

  return serveGraph(scope, {
    graph,
    file,
    trusted,
    clientsOf: subgraphs.clientsOf,
    onServed: subgraphs.serve,
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
      rates: NO_RATES,
      introspection: isProduction ? 'operators' : 'everyone',
      costs,
      maxCost: options.maxCost,
    }),
    costs,
    hideSchema: isProduction,
    allowedOrigins: options.allowedOrigins,
    forwardedHeaders: options.forwardedHeaders,
    page: neutralPage,
    durableStreams: options.durableStreams,
    routes: { 'GET /': neutralPage },
    ready: () => (options.authentication ? { keys: callers.ready } : {}),
    clientAddress,
    host: options.host,
    port: options.port,
    drainSeconds: options.drainSeconds,
    log,
    metrics,
  })
}

/** A name that nobody has would leave the subgraph that was meant where it is. */
function refuseUnknown(flag: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue
    throw new UsageError(
      `${flag} ${name}: the supergraph has no such subgraph, it has ${known.join(', ')}`,
    )
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`--supergraph ${file}: ${error instanceof Error ? error.message : error}`)
  }
}
