import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { createPeers, type Peers } from '@berth/platform/peers'
import type { GatewayContext } from '../context.ts'
import type { SubgraphAnswer, Take } from '../federation/answers.ts'
import {
  createSubgraphClient,
  type SubgraphClient,
} from '../federation/transport/subgraph-client.ts'

type Deps = {
  readonly service: string
  readonly url: URL
  readonly metrics: Metrics
  readonly log: Log
}

type Opened = { readonly peers: Peers; readonly client: SubgraphClient }

/**
 * A subgraph at one address. Connections to it are there from its first call on; once it is retired,
 * for as long as calls are in flight. What was planned in a graph of before may still call it then.
 */
export class Address implements SubgraphClient {
  readonly #deps: Deps
  #opened: Opened | null = null
  #inFlight = 0
  #isRetired = false
  readonly #left = (): void => {
    this.#inFlight--
    if (this.#isRetired) this.#closeIdle()
  }

  constructor(deps: Deps) {
    this.#deps = deps
  }

  ask(
    body: string,
    isMutation: boolean,
    context: GatewayContext,
    take?: Take,
  ): Promise<SubgraphAnswer> {
    this.#opened ??= open(this.#deps)
    this.#inFlight++
    const answer = this.#opened.client.ask(body, isMutation, context, take)
    answer.then(this.#left, this.#left)
    return answer
  }

  /** No graph that is served has it any more. */
  retire(): void {
    this.#isRetired = true
    this.#closeIdle()
  }

  /** For good, whatever is in flight. */
  async close(): Promise<void> {
    await this.#opened?.peers.close()
  }

  #closeIdle(): void {
    if (this.#inFlight > 0) return
    const opened = this.#opened
    // A later call opens it again.
    this.#opened = null
    opened?.peers.close().catch((error: unknown) => {
      const { service, log } = this.#deps
      log.warn({ err: error, subgraph: service }, 'connections were not closed')
    })
  }
}

function open({ service, url, metrics, log }: Deps): Opened {
  const peers = createPeers({ [service]: [url.origin] })
  const path = `${url.pathname}${url.search}`
  return { peers, client: createSubgraphClient({ service, peers, path, metrics, log }) }
}
