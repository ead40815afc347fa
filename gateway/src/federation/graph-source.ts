import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ApolloServerOptionsWithGateway } from '@apollo/server'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { type DocumentNode, Kind, type OperationDefinitionNode } from 'graphql'
import type { Documents } from '../admit/documents.ts'
import { NO_TRUSTED_DOCUMENTS, type TrustedDocuments } from '../admit/trusted-documents.ts'
import type { GatewayContext } from '../context.ts'
import type { Planner } from '../subscriptions/plan.ts'
import type { Executor } from './executor.ts'
import { buildGraph, type Graph } from './graph.ts'

/** What is made of one supergraph, and replaced with it. */
export type GraphParts = {
  readonly documents: Documents
  readonly executor: Executor
  readonly planner: Planner
}

export type Generation = GraphParts & {
  readonly graph: Graph
  /** Trusted documents by hash, or why one is not valid in this graph. */
  readonly trusted: ReadonlyMap<string, DocumentNode | Error>
}

/**
 * The graph that is served, and the same parts for whoever asks them over a long time: a document is
 * opened in the graph of the moment, and what was opened in a graph is planned and run in that one,
 * however long it takes and whatever came after it.
 */
export type GraphSource = {
  readonly current: Generation
  readonly documents: Pick<Documents, 'open'>
  readonly executor: ServedExecutor
  readonly planner: Planner
  /** Undefined: no document of this hash is trusted. */
  trusted(hash: string): DocumentNode | Error | undefined
  /**
   * Serves another supergraph from now on. What was used most is planned and compiled beforehand.
   * One that cannot be built changes nothing.
   */
  reload(sdl: string): Promise<'taken' | 'refused' | 'unchanged'>
  /** Told in the moment of the change, and before anything is opened in the new graph. */
  onChange(listener: (generation: Generation) => void): void
}

/** Documents that are made ready before a graph is served. */
const WARMED = 500
/** How long requests wait for it at a time. */
const SLICE_MS = 5

/**
 * @param partsOf what to make of a graph; `onRead` must be told of every document that it opens
 */
export function createGraphSource({
  graph: first,
  partsOf,
  trusted = NO_TRUSTED_DOCUMENTS,
  log,
  metrics,
}: {
  graph: Graph
  partsOf: (graph: Graph, onRead: (document: DocumentNode) => void) => GraphParts
  trusted?: TrustedDocuments
  log: Log
  metrics: Metrics
}): GraphSource {
  const reloads = metrics.counter(
    'berth_gateway_graph_reloads_total',
    'Supergraphs that were offered, by what became of them',
    ['outcome'],
  )
  const owners = new WeakMap<OperationDefinitionNode, Generation>()
  const listeners = new Set<(generation: Generation) => void>()
  const ownerOf = (definition: OperationDefinitionNode) => owners.get(definition) ?? current
  let current = generationOf(first)
  let reloading: Promise<unknown> = Promise.resolve()

  const executor: ServedExecutor = {
    gateway: gatewayOf(),
    execute: (of) => ownerOf(of.definition).executor.execute(of),
    hydrate: (event, of) => ownerOf(of.definition).executor.hydrate(event, of),
    warm: (document, definition) => ownerOf(definition).executor.warm(document, definition),
  }
  return {
    get current() {
      return current
    },
    executor,
    planner: (document, definition, caller) =>
      ownerOf(definition).planner(document, definition, caller),
    documents: { open: (source, by) => current.documents.open(source, by) },
    trusted: (hash) => current.trusted.get(hash),
    onChange: (listener) => void listeners.add(listener),
    async reload(next) {
      const done = reloading.then(() => take(next))
      reloading = done
      const outcome = await done
      reloads.inc({ outcome })
      return outcome
    },
  }

  async function take(next: string): Promise<'taken' | 'refused' | 'unchanged'> {
    if (next === current.graph.sdl) return 'unchanged'
    const startedAt = performance.now()
    let generation: Generation
    try {
      generation = generationOf(buildGraph(next))
    } catch (err) {
      log.error({ err }, 'the new supergraph cannot be served: the one of before stays')
      return 'refused'
    }
    const warmed = await warm(generation, current.documents.hottest(WARMED))
    current = generation
    for (const listener of listeners) listener(generation)
    const ms = Math.round(performance.now() - startedAt)
    const invalid = invalidIn(generation)
    if (invalid.length > 0) log.warn({ invalid }, 'trusted documents are not valid any more')
    log.info({ subgraphs: generation.graph.subgraphs, warmed, ms }, 'another supergraph is served')
    return 'taken'
  }

  function generationOf(graph: Graph): Generation {
    const parts = partsOf(graph, (document) => {
      for (const it of document.definitions) {
        if (it.kind === Kind.OPERATION_DEFINITION) owners.set(it, generation)
      }
    })
    const opened = new Map<string, DocumentNode | Error>()
    const generation: Generation = Object.freeze({ ...parts, graph, trusted: opened })
    for (const [hash, { body }] of trusted) {
      opened.set(
        hash,
        attempt(() => parts.documents.pin(body)),
      )
    }
    return generation
  }

  /** Names of trusted documents, each with what is wrong with it. */
  function invalidIn({ trusted: opened }: Generation): string[] {
    return [...opened].flatMap(([hash, it]) =>
      it instanceof Error ? [`${trusted.get(hash)?.name}: ${messagesOf(it).join('; ')}`] : [],
    )
  }

  /** @returns how many could be */
  async function warm(generation: Generation, sources: readonly string[]): Promise<number> {
    const { documents } = generation
    const pinned = [...generation.trusted.values()]
    let sliceEndsAt = performance.now() + SLICE_MS
    let warmed = 0
    // The most used last: it is then the last to be evicted.
    for (const it of [...sources.toReversed(), ...pinned]) {
      const document = typeof it === 'string' ? attempt(() => documents.open(it)) : it
      if (document instanceof Error || !plan(generation, document)) continue
      warmed++
      if (performance.now() < sliceEndsAt) continue
      await nextTurn()
      sliceEndsAt = performance.now() + SLICE_MS
    }
    return warmed
  }

  function plan({ planner, executor: own }: Generation, document: DocumentNode): boolean {
    try {
      for (const it of document.definitions) {
        if (it.kind !== Kind.OPERATION_DEFINITION) continue
        if (it.operation === 'subscription') planner(document, it)
        else own.warm(document, it)
      }
      return true
    } catch (err) {
      // It is told to whoever runs it.
      log.debug({ err }, 'a document was not made ready')
      return false
    }
  }

  /** Apollo Server learns the schema by it, and each later one. It runs nothing: the executor does. */
  function gatewayOf(): Gateway {
    return {
      onSchemaLoadOrUpdate(callback) {
        const tell = ({ graph }: Generation) =>
          callback({ apiSchema: graph.schema, coreSupergraphSdl: graph.sdl })
        listeners.add(tell)
        return () => listeners.delete(tell)
      },
      async load() {
        for (const listener of listeners) listener(current)
        return { executor: null }
      },
      stop: async () => listeners.clear(),
    }
  }
}

/** The executor of the graph of the moment. */
export type ServedExecutor = Executor & {
  /** What Apollo Server knows the schema by. */
  readonly gateway: Gateway
}

type Gateway = NonNullable<ApolloServerOptionsWithGateway<GatewayContext>['gateway']>

function messagesOf(error: Error): string[] {
  return error instanceof AggregateError
    ? error.errors.map((it: unknown) => (it instanceof Error ? it.message : String(it)))
    : [error.message]
}

/** What is wrong with a document is told by errors of this kind; anything else is a fault here. */
function attempt(open: () => DocumentNode): DocumentNode | Error {
  try {
    return open()
  } catch (error) {
    if (error instanceof Error) return error
    throw error
  }
}
