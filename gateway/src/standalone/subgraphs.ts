import { ForeignError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { GraphQLFormattedError } from 'graphql'
import type { Graph } from '../federation/graph.ts'
import type { SubgraphClient, SubgraphClients } from '../federation/transport/subgraph-client.ts'
import { createUpstreams, type Upstreams } from '../subscriptions/upstreams.ts'
import { Address } from './address.ts'
import type { Options } from './options.ts'

export type Subgraphs = {
  /** @throws {TypeError} when it is not known where one of them is */
  clientsOf(graph: Graph): SubgraphClients
  /** This graph is served from now on: addresses that it has not are left, once they are idle. */
  serve(graph: Graph): void
  readonly upstreams: Upstreams
  close(): Promise<void>
}

/** The subgraphs where the supergraph says they are, or where it was said otherwise. */
export function createSubgraphs(
  {
    subgraphs,
    subscriptionUrls,
    maskErrors,
  }: Pick<Options, 'subgraphs' | 'subscriptionUrls' | 'maskErrors'>,
  { log, metrics }: { log: Log; metrics: Metrics },
): Subgraphs {
  const addresses = new Map<string, { address: Address; client: SubgraphClient }>()
  let urls: Readonly<Record<string, string>> = {}
  const upstreams = createUpstreams({
    addressesOf(service) {
      const address = subscriptionUrls[service] ?? urls[service]
      return address ? [address] : []
    },
    metrics,
    log,
  })
  return {
    clientsOf: (graph) =>
      Object.fromEntries(
        Object.entries(urlsOf(graph)).map(([name, url]) => [name, clientAt(name, url)]),
      ),
    serve(graph) {
      urls = urlsOf(graph)
      const served = new Set(Object.entries(urls).map(([name, url]) => keyOf(name, url)))
      for (const [key, { address }] of addresses) {
        if (served.has(key)) continue
        addresses.delete(key)
        address.retire()
      }
    },
    upstreams: maskErrors ? upstreams : shownUpstreams(upstreams),
    async close() {
      upstreams.close()
      await Promise.all([...addresses.values()].map((it) => it.address.close()))
    },
  }

  function urlsOf(graph: Graph): Record<string, string> {
    return Object.fromEntries(
      graph.subgraphs.map((name) => [name, subgraphs[name] ?? graph.urls[name] ?? '']),
    )
  }

  /** Kept by where it is: it knows how the subgraph has been doing, and has connections to it. */
  function clientAt(service: string, at: string): SubgraphClient {
    const url = URL.parse(at)
    if (!url || !/^https?:$/.test(url.protocol)) {
      throw new TypeError(
        `the supergraph has no URL of the subgraph ${service}: say it by --subgraph ${service}=URL`,
      )
    }
    const key = keyOf(service, at)
    const known = addresses.get(key)
    if (known) return known.client
    const address = new Address({ service, url, metrics, log })
    const client = maskErrors ? address : shownClient(address)
    addresses.set(key, { address, client })
    return client
  }
}

function keyOf(service: string, url: string): string {
  return `${service} ${url}`
}

/** Errors of the subgraph as they are: `message`, `path` and `extensions`. */
function shownClient(client: SubgraphClient): SubgraphClient {
  return {
    async ask(body, isMutation, context, take) {
      const answer = await client.ask(body, isMutation, context, take)
      if (answer.errors) return { ...answer, errors: foreign(answer.errors) }
      return answer
    },
  }
}

function shownUpstreams(upstreams: Upstreams): Upstreams {
  return {
    ...upstreams,
    subscribe: (service, payload, socket, sink) =>
      upstreams.subscribe(service, payload, socket, {
        ...sink,
        next: (result) =>
          sink.next(result.errors ? { ...result, errors: foreign(result.errors) } : result),
        failed: (errors) => sink.failed(foreign(errors)),
      }),
  }
}

function foreign(errors: readonly GraphQLFormattedError[]): ForeignErrors {
  return errors.map((it) => new ForeignError(it)) as unknown as ForeignErrors
}

/** They pass where a subgraph's errors do, which know no class. */
type ForeignErrors = readonly GraphQLFormattedError[]
