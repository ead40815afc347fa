import { ForeignError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import type { GraphQLFormattedError } from 'graphql'
import type { Graph } from '../federation/graph.ts'
import {
  createSubgraphClient,
  type SubgraphClient,
  type SubgraphClients,
} from '../federation/transport/subgraph-client.ts'
import { createUpstreams, type Upstreams } from '../subscriptions/upstreams.ts'
import type { Options } from './options.ts'

export type Subgraphs = {
  /** @throws {TypeError} when it is not known where one of them is */
  clientsOf(graph: Graph): SubgraphClients
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
  const clients = new Map<string, { client: SubgraphClient; close(): Promise<void> }>()
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
    clientsOf(graph) {
      const found = Object.fromEntries(
        graph.subgraphs.map((name) => [name, subgraphs[name] ?? graph.urls[name] ?? '']),
      )
      const made = Object.fromEntries(
        Object.entries(found).map(([name, url]) => [name, clientAt(name, url)]),
      )
      urls = found
      return made
    },
    upstreams: maskErrors ? upstreams : shownUpstreams(upstreams),
    async close() {
      upstreams.close()
      await Promise.all([...clients.values()].map((it) => it.close()))
    },
  }

  /** Kept by where it is: it knows how the subgraph has been doing, and has connections to it. */
  function clientAt(service: string, address: string): SubgraphClient {
    const url = URL.parse(address)
    if (!url || !/^https?:$/.test(url.protocol)) {
      throw new TypeError(
        `the supergraph has no URL of the subgraph ${service}: say it by --subgraph ${service}=URL`,
      )
    }
    const key = `${service} ${address}`
    const known = clients.get(key)
    if (known) return known.client
    const peers = createPeers({ [service]: [url.origin] })
    const path = `${url.pathname}${url.search}`
    const own = createSubgraphClient({ service, peers, path, metrics, log })
    const client = maskErrors ? own : shownClient(own)
    clients.set(key, { client, close: () => peers.close() })
    return client
  }
}

/** Errors of the subgraph as they are: `message`, `path` and `extensions`. */
function shownClient(client: SubgraphClient): SubgraphClient {
  return {
    async ask(body, isMutation, context) {
      const answer = await client.ask(body, isMutation, context)
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
